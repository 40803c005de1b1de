package replay

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"hash"
)

// ResultHash is over all rows of a result as they were sent, in their order:
// SHA-256 over each cell's length, in four bytes, big-endian, and its text;
// NULL has the length ff ff ff ff and nothing after it. The zero value is that
// of no rows.
type ResultHash struct {
	h    hash.Hash
	rows int64
}

// Add adds a row. Nil is NULL.
func (r *ResultHash) Add(cells [][]byte) {
	if r.h == nil {
		r.h = sha256.New()
	}
	var length [4]byte
	for _, c := range cells {
		n := uint32(0xffffffff)
		if c != nil {
			n = uint32(len(c))
		}
		binary.BigEndian.PutUint32(length[:], n)
		r.h.Write(length[:])
		r.h.Write(c)
	}
	r.rows++
}

// Rows is how many were added.
func (r *ResultHash) Rows() int64 { return r.rows }

// String is the first half of the sum, in hexadecimal.
func (r *ResultHash) String() string {
	if r.h == nil {
		r.h = sha256.New()
	}
	return hex.EncodeToString(r.h.Sum(nil)[:16])
}

package vector

import "github.com/sallyport-proxy/sallyport/sqlpolicy/facts"

// shape says what an answer is made of, and so what becomes of each part.
// What no shape names is dropped.
type shape struct {
	kind       shapeKind
	fields     []field  // of an object
	elem       *shape   // of an array, and of an object's every member with a names
	collection string   // of a payload, vector, value, column or names
	path       string   // of a value: the payload's path that it is the value of
	row        bool     // each element of the array is a row of the result
	cell       string   // each element of the array is the part of a row, under this name
	lists      *listing // the array's elements are collections: only those that the identity reaches
}

type field struct {
	name  string
	shape *shape
}

// listing says how a list of collections names each: by a member, which is its
// name within a database.
type listing struct {
	member string
	in     facts.Name
}

type shapeKind uint8

const (
	pass    shapeKind = iota // as it is
	object                   // by fields
	array                    // by elem
	payload                  // a document's payload: by its paths
	vector                   // embeddings
	value                    // the value at path
	names                    // an object whose names are payload paths: elem for each, masked ones dropped
)

var passed = &shape{}

func obj(fields map[string]*shape) *shape {
	s := &shape{kind: object}
	for name, f := range fields {
		s.set(name, f)
	}
	return s
}

// set gives an object a field.
func (s *shape) set(name string, f *shape) { s.fields = append(s.fields, field{name, f}) }

// replace gives a field that is there another shape.
func (s *shape) replace(name string, f *shape) {
	for i := range s.fields {
		if s.fields[i].name == name {
			s.fields[i].shape = f
		}
	}
}

// field is the shape of an object's member, nil for one that has none. An
// object has few: looking at all of them is quicker than a map.
func (s *shape) field(name []byte) *shape {
	for i := range s.fields {
		if f := &s.fields[i]; f.name == string(name) {
			return f.shape
		}
	}
	return nil
}
func list(elem *shape) *shape { return &shape{kind: array, elem: elem} }

func collections(member string, in facts.Name) *shape {
	return &shape{kind: array, elem: passed, lists: &listing{member, in}}
}

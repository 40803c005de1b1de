package vector

// shape says what an answer is made of, and so what becomes of each part.
// What no shape names is dropped.
type shape struct {
	kind       shapeKind
	fields     map[string]*shape // of an object
	elem       *shape            // of an array, and of an object's every member with a names
	collection string            // of a payload, vector, value, column or names
	path       string            // of a value: the payload's path that it is the value of
	row        bool              // each element of the array is a row of the result
	cell       string            // each element of the array is the part of a row, under this name
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

func obj(fields map[string]*shape) *shape { return &shape{kind: object, fields: fields} }
func list(elem *shape) *shape             { return &shape{kind: array, elem: elem} }

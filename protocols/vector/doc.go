// Package vector speaks the HTTP APIs of vector stores: one file and one table
// of endpoints a store. A table says, of each route, what the request does in
// the policy's words (its effects, the collections by their real names, the
// payload paths that it compares, sorts and groups by) and what its answer is
// made of, so that classed values are masked wherever they stand.
//
// What a table does not know is refused: a route, a member of a request, a
// condition. What an answer's shape does not name is dropped.
//
//	qdrant.go    https://api.qdrant.tech (REST)
//	chroma.go    https://docs.trychroma.com (v2)
package vector

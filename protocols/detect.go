package protocols

import (
	"errors"

	"github.com/sallyport-proxy/sallyport/sqlpolicy/facts"
	"github.com/sallyport-proxy/sallyport/sqlpolicy/mask"
)

// Detecting is what sessions and the tickets of operations can do besides,
// found by assertion. A session's detector finds all that the policy looks
// for in texts, for facts; a ticket's masks what its decision lets nobody
// send or see. Nil finds nothing.
type Detecting interface {
	Detector() (*mask.Detector, error)
}

// ErrPolicyChanged is Admit's answer where the policy is no longer the one
// whose detector the facts were made with: the request is read and admitted
// anew. Nothing of it has been recorded.
var ErrPolicyChanged = errors.New("the policy changed while the request was read")

// Scoped is what tickets can do besides, found by assertion: they say whether
// the policy's scopes let the identity reach something, so that a list does
// not tell of what is nobody's business.
type Scoped interface {
	Reaches(o facts.Object) bool
}

package protocols

import "github.com/sallyport-proxy/sallyport/sqlpolicy/mask"

// Detecting is what sessions and the tickets of operations can do besides,
// found by assertion. A session's detector finds all that the policy looks
// for in texts, for facts; a ticket's masks what its decision lets nobody
// send or see. Nil finds nothing.
type Detecting interface {
	Detector() (*mask.Detector, error)
}

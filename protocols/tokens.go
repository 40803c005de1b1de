package protocols

import "github.com/sallyport-proxy/sallyport/sqlpolicy/facts"

// Metered is what the tickets of operations that ask a model can do besides,
// found by assertion.
type Metered interface {
	// Reserve charges what a model may take to the budgets before it is asked,
	// as far as they reach; where nothing is left of one it is a *Denial. What
	// is not used is given back by Used, or when the ticket is done.
	Reserve(most facts.Usage) error
	// Used charges what a model has taken, records it, and gives back the rest
	// of what was reserved. It is called once.
	Used(u facts.Usage) error
}

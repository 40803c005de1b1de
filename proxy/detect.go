package proxy

import (
	"github.com/sallyport-proxy/sallyport/protocols"
	"github.com/sallyport-proxy/sallyport/sqlpolicy/facts"
	"github.com/sallyport-proxy/sallyport/sqlpolicy/mask"
)

var (
	_ protocols.Detecting = (*ticket)(nil)
	_ protocols.Scoped    = (*ticket)(nil)
)

// Detector masks what the decision says.
func (t *ticket) Detector() (*mask.Detector, error) {
	return t.policy.Detector(t.decision.Detect, t.session.engine.keys.Hash)
}

// Reaches is the policy's answer for the session's identity.
func (t *ticket) Reaches(o facts.Object) bool {
	s := t.session
	return t.policy.Reaches(&s.identity, s.target.config.Name, s.database, o)
}

package proxy

import (
	"github.com/sallyport-proxy/sallyport/protocols"
	"github.com/sallyport-proxy/sallyport/sqlpolicy/mask"
)

var (
	_ protocols.Detecting = (*session)(nil)
	_ protocols.Detecting = (*ticket)(nil)
)

// Detector finds what the policy in force looks for, whoever asks.
func (s *session) Detector() (*mask.Detector, error) {
	p := s.engine.policy.Load()
	return p.Detector(p.Detects(), s.engine.keys.Hash)
}

// Detector masks what the decision says.
func (t *ticket) Detector() (*mask.Detector, error) {
	return t.policy.Detector(t.decision.Detect, t.session.engine.keys.Hash)
}

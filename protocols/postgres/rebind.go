package postgres

import (
	"encoding/binary"
	"slices"

	"github.com/sallyport-proxy/sallyport/protocols"
	"github.com/sallyport-proxy/sallyport/sqlpolicy/catalog"
)

// sameNames says whether a name means the same in both views.
func sameNames(a, b *catalog.View) bool { return a.Catalog == b.Catalog && samePlace(a, b) }

// samePlace says whether names are looked up in the same places.
func samePlace(a, b *catalog.View) bool {
	return slices.Equal(a.SearchPath, b.SearchPath) && a.Role == b.Role && a.TempSchema == b.TempSchema
}

// rebinds says whether a portal that has not run can be bound once more, so
// that it means what was decided under v: the schema alone has changed, by
// anybody's DDL, and its statement is still there.
func (s *session) rebinds(p *portal, v *catalog.View) bool {
	return samePlace(p.view, v) && p.stmt.ticket != nil && s.stmts[p.stmt.name] == p.stmt
}

// rebind binds p once more, unseen by the client. PostgreSQL refuses it where
// the columns would no longer be those that the client may have been told.
// pushed is false where the pipeline has failed.
func (s *session) rebind(p *portal, v *catalog.View) (pushed bool, err error) {
	if p.name != "" { // the unnamed one is replaced
		e := s.q.expect(expectClose)
		if e.swallow = true; !s.q.push(e) {
			return false, nil
		}
		if err := s.up.Control(protocols.ControlClose, message('C', []byte{'P'}, appendString(nil, p.name))); err != nil {
			return true, err
		}
	}
	e := s.q.expect(expectBind)
	e.portal, e.swallow = p, true
	e.undo = effectFunc(func() {
		if s.portals.get([]byte(p.name)) == p {
			s.portals.set(p.name, nil)
		}
	})
	if !s.q.push(e) {
		return false, nil
	}
	p.view, p.described = v, false
	return true, wire(s.up.Send(p.stmt.ticket, message('B', appendBind(p))))
}

// appendBind is the body of a portal's Bind.
func appendBind(p *portal) []byte {
	b := appendString(appendString(nil, p.name), p.stmt.name)
	b = binary.BigEndian.AppendUint16(b, uint16(len(p.params)))
	for _, x := range p.params {
		b = binary.BigEndian.AppendUint16(b, uint16(x.format))
	}
	b = binary.BigEndian.AppendUint16(b, uint16(len(p.params)))
	for _, x := range p.params {
		if x.null {
			b = binary.BigEndian.AppendUint32(b, 0xffffffff)
			continue
		}
		b = append(binary.BigEndian.AppendUint32(b, uint32(len(x.value))), x.value...)
	}
	b = binary.BigEndian.AppendUint16(b, uint16(len(p.formats)))
	for _, f := range p.formats {
		b = binary.BigEndian.AppendUint16(b, uint16(f))
	}
	return b
}

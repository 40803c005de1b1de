//go:build !linux

package socket

import "net"

// Direct returns c.
func Direct(c net.Conn) net.Conn { return c }

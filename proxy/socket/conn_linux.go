package socket

import (
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"unsafe"
)

// conn reads and writes by system calls of its own.
type conn struct {
	net.Conn
	raw         syscall.RawConn
	read, write side
}

// side is one direction. What a call is about stands in fields, so that a call
// makes no closure.
type side struct {
	mu    sync.Mutex
	p     []byte
	n     int
	errno syscall.Errno
	try   func(fd uintptr) (done bool)
}

// Direct returns c with reads and writes that do not tell Go's scheduler of
// their system calls. What is no socket of the kernel's is returned as it is.
// One goroutine may read while another writes; c must not be used beside it.
func Direct(c net.Conn) net.Conn {
	s, ok := c.(syscall.Conn)
	if !ok {
		return c
	}
	raw, err := s.SyscallConn()
	if err != nil {
		return c
	}
	d := &conn{Conn: c, raw: raw}
	d.read.try, d.write.try = d.read.receive, d.write.send
	return d
}

// Read reads what is there, and waits where nothing is.
func (c *conn) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	s := &c.read
	s.mu.Lock()
	defer s.mu.Unlock()
	s.p, s.n, s.errno = p, 0, 0
	err := c.raw.Read(s.try)
	s.p = nil
	switch {
	case s.errno != 0:
		return 0, c.failed("read", os.NewSyscallError("recvfrom", s.errno))
	case err != nil:
		return 0, err
	case s.n == 0:
		return 0, io.EOF
	}
	return s.n, nil
}

// Write writes all of p.
func (c *conn) Write(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	s := &c.write
	s.mu.Lock()
	defer s.mu.Unlock()
	s.p, s.n, s.errno = p, 0, 0
	err := c.raw.Write(s.try)
	s.p = nil
	if s.errno != 0 {
		err = c.failed("write", os.NewSyscallError("sendto", s.errno))
	}
	return s.n, err
}

// CloseWrite ends what is sent, as *net.TCPConn does.
func (c *conn) CloseWrite() error {
	if w, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return w.CloseWrite()
	}
	return errors.ErrUnsupported
}

// SetLinger is *net.TCPConn's.
func (c *conn) SetLinger(seconds int) error {
	if w, ok := c.Conn.(interface{ SetLinger(sec int) error }); ok {
		return w.SetLinger(seconds)
	}
	return errors.ErrUnsupported
}

// failed is an error as package net has it.
func (c *conn) failed(op string, err error) error {
	local := c.LocalAddr()
	return &net.OpError{Op: op, Net: local.Network(), Source: local, Addr: c.RemoteAddr(), Err: err}
}

// receive is false where it has to be tried again when something has come.
func (s *side) receive(fd uintptr) bool {
	for {
		n, _, e := syscall.RawSyscall6(syscall.SYS_RECVFROM, fd, uintptr(unsafe.Pointer(unsafe.SliceData(s.p))), uintptr(len(s.p)), syscall.MSG_DONTWAIT, 0, 0)
		switch e {
		case 0:
			s.n = int(n)
			return true
		case syscall.EINTR:
		case syscall.EAGAIN:
			return false
		default:
			s.errno = e
			return true
		}
	}
}

// send is false where the rest waits for room.
func (s *side) send(fd uintptr) bool {
	for s.n < len(s.p) {
		rest := s.p[s.n:]
		n, _, e := syscall.RawSyscall6(syscall.SYS_SENDTO, fd, uintptr(unsafe.Pointer(unsafe.SliceData(rest))), uintptr(len(rest)), syscall.MSG_DONTWAIT|syscall.MSG_NOSIGNAL, 0, 0)
		switch e {
		case 0:
			s.n += int(n)
		case syscall.EINTR:
		case syscall.EAGAIN:
			return false
		default:
			s.errno = e
			return true
		}
	}
	return true
}

package throwaway

import (
	"errors"
	"fmt"
	"net"
)

// errPortTaken says that somebody else listens on the port.
var errPortTaken = errors.New("its port was taken by somebody else")

// onPort launches the server on its port, or where it has none yet on a free one. A port that
// somebody else took in between is given up for another.
func (s *Server) onPort(launch func(port int) (*process, error)) (*process, error) {
	if s.Port != 0 {
		return launch(s.Port)
	}
	var failed error
	for range 5 {
		port, err := freePort()
		if err != nil {
			return nil, err
		}
		p, err := launch(port)
		if err == nil {
			s.Port = port
			return p, nil
		}
		if failed = err; !errors.Is(err, errPortTaken) {
			break
		}
	}
	return nil, failed
}

// freePort is a port of 127.0.0.1 that nobody listened on a moment ago.
func freePort() (int, error) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return 0, fmt.Errorf("looking for a free port: %w", err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}

//go:build unix

package wire

import "syscall"

// peek finds out whether something waits in a socket. It is made once for
// each, so that looking costs no memory.
type peek struct {
	look  func(fd uintptr)
	quiet bool
	buf   [1]byte
}

func newPeek() *peek {
	p := &peek{}
	p.look = func(fd uintptr) {
		// Go's sockets do not block. What this takes out of the socket is
		// missed by nobody: a connection that is not quiet is not used.
		_, err := syscall.Read(int(fd), p.buf[:])
		p.quiet = err == syscall.EAGAIN || err == syscall.EWOULDBLOCK
	}
	return p
}

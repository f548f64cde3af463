package s3

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"strings"
	"syscall"
)

// plain says why no answer came, in words for whoever has to mend it.
func plain(err error) string {
	if errors.Is(err, context.Canceled) {
		return "the call was given up"
	}
	if e, ok := errors.AsType[*net.DNSError](err); ok {
		if e.IsNotFound {
			return "DNS knows no host " + e.Name
		}
		return "DNS could not find host " + e.Name + ": " + e.Err
	}
	if e, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return "TLS: the server's certificate is not trusted: " + e.Err.Error()
	}
	if e, ok := errors.AsType[tls.RecordHeaderError](err); ok {
		if string(e.RecordHeader[:]) == "HTTP/" {
			return "TLS: the server speaks HTTP without TLS"
		}
		return "TLS: " + e.Msg
	}
	timedOut := errors.Is(err, context.DeadlineExceeded)
	if e, ok := errors.AsType[net.Error](err); ok {
		timedOut = timedOut || e.Timeout()
	}
	if e, ok := errors.AsType[*net.OpError](err); ok {
		whom := "the server"
		if e.Op == "proxyconnect" {
			whom = "the proxy"
			if inner, ok := errors.AsType[*net.OpError](e.Err); ok {
				e = inner
			}
		}
		if e.Addr != nil {
			whom += " at " + e.Addr.String()
		}
		switch {
		case e.Op != "dial":
		case timedOut:
			return "timed out while connecting to " + whom
		default:
			return "cannot connect to " + whom + ": " + strings.TrimPrefix(e.Err.Error(), "connect: ")
		}
	}
	switch {
	case timedOut && err.Error() == context.DeadlineExceeded.Error():
		return "timed out"
	case timedOut: // says in which phase
		return "timed out: " + strings.TrimPrefix(err.Error(), "net/http: ")
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return "the connection broke off (" + err.Error() + ")"
	}
	return err.Error()
}

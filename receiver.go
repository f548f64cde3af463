package auditdrain

import (
	"fmt"
	"net/netip"
	"net/url"
)

// MaxReceiverURL bounds the address of a receiver, in bytes.
const MaxReceiverURL = 2048

// CheckReceiverURL reports why nothing can be posted to an address that the operator
// names: it must be https, or http on this machine. The error shows no password.
func CheckReceiverURL(address string) error {
	if len(address) > MaxReceiverURL {
		return fmt.Errorf("a URL of %d bytes is not allowed: use up to %d", len(address), MaxReceiverURL)
	}
	u, err := url.Parse(address)
	switch {
	case err != nil || u.Host == "" || u.Opaque != "":
		return fmt.Errorf("%q is not a URL: use one such as https://hooks.example.com/auditdrain", address)
	case u.User != nil || u.Fragment != "":
		return fmt.Errorf("%q is not allowed: use a URL without user, password and fragment", u.Redacted())
	case u.Scheme == "https", u.Scheme == "http" && loopback(u.Hostname()):
		return nil
	}
	return fmt.Errorf("%q is not allowed: use https, or http on this machine", address)
}

func loopback(host string) bool {
	addr, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && addr.IsLoopback()
}

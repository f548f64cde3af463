package auditdrain

import (
	"strings"
	"testing"
)

func TestCheckReceiverURL(t *testing.T) {
	for url, ok := range map[string]bool{
		"https://hooks.example.com/x?y=z": true,
		"http://127.0.0.1:9/x":            true,
		"http://127.8.8.8/":               true,
		"http://[::1]:9/":                 true,
		"http://localhost:9/":             true,
		"http://hooks.example.com/":       false,
		"http://localhost.example.com/":   false,
		"http://10.0.0.1/":                false,
		"ftp://hooks.example.com/":        false,
		"https://":                        false,
		"hooks.example.com":               false,
		"https:hooks.example.com":         false,
		"https://me:secret@example.com/":  false,
		"https://example.com/#x":          false,
		"https://exa mple.com/":           false,
		"":                                false,
		"https://example.com/" + strings.Repeat("x", MaxReceiverURL-20): true,
		"https://example.com/" + strings.Repeat("x", MaxReceiverURL-19): false,
	} {
		err := CheckReceiverURL(url)
		if (err == nil) != ok {
			t.Errorf("%q: %v, want ok %v", url, err, ok)
		}
		if err != nil && strings.Contains(err.Error(), "secret") {
			t.Errorf("the error shows the password: %v", err)
		}
	}
}

package client_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/auditdrain/auditdrain/client"
	"github.com/auditdrain/auditdrain/internal/leaktest"
)

const token = "ad_0123456789abcdefghijABCDEFGHIJ01"

func TestNewRefuses(t *testing.T) {
	for name, tc := range map[string]struct{ url, token, want string }{
		"no scheme":       {"127.0.0.1:8080", token, "server URL is not a URL"},
		"host only":       {"localhost", token, `"localhost" is not allowed: use http://host or https://host`},
		"other scheme":    {"ftp://host", token, `"ftp://host" is not allowed`},
		"no host":         {"http:///v1", token, "is not allowed: use http://host"},
		"query":           {"http://host/?a=b", token, "leave out what comes after ?"},
		"fragment":        {"http://host/#top", token, "leave out what comes after ?"},
		"user":            {"http://me:hunter2@host", token, "leave out the user name"},
		"broken and user": {"http://me:hunter2@ho st", token, "is not a URL"},
		"empty token":     {"http://host", "", "token is empty"},
		"token and line":  {"http://host", token + "\n", "token has a character at position 36"},
		"token not ASCII": {"http://host", "ad_é", "token has a character at position 4"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := client.New(tc.url, tc.token)
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Fatalf("New(%q) = %v, want an error with %q", tc.url, err, tc.want)
			}
			if strings.Contains(err.Error(), "hunter2") || tc.token != "" && strings.Contains(err.Error(), tc.token) {
				t.Errorf("the error shows a secret: %v", err)
			}
		})
	}
}

func TestNewKeepsPath(t *testing.T) {
	leaktest.Check(t)
	var got string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got = r.URL.Path
		w.Write([]byte(`{"teams":[]}`))
	}))
	defer server.Close()
	for _, suffix := range []string{"/audit", "/audit/"} {
		c, err := client.New(server.URL+suffix, token)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.ListTeams(t.Context()); err != nil {
			t.Fatal(err)
		}
		if want := "/audit/v1/teams"; got != want {
			t.Errorf("path %q, want %q", got, want)
		}
	}
}

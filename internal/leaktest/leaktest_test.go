package leaktest

import (
	"net/http/httptest"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

func TestFind(t *testing.T) {
	before := goleak.IgnoreCurrent()
	server := httptest.NewServer(nil)
	if err := goleak.Find(before); err == nil || !strings.Contains(err.Error(), "httptest.(*Server).goServe") {
		t.Errorf("a server that runs: %v", err)
	}
	server.Close()
	if err := Find(before); err != nil {
		t.Error(err)
	}
}

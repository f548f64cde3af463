package main

import (
	"math"
	"strings"
	"testing"
)

func TestDescribeMachine(t *testing.T) {
	m := describeMachine(t.Context(), t.TempDir())
	if s := m.String(); strings.Contains(s, "unknown") || m.fs == "" {
		t.Errorf("machine: %s", s)
	}
}

func TestNeedSpace(t *testing.T) {
	if err := needSpace(t.TempDir(), 1); err != nil {
		t.Error(err)
	}
	if err := needSpace(t.TempDir(), math.MaxInt64); err == nil || !strings.Contains(err.Error(), "use -dir") {
		t.Errorf("error %v for all the space there could be", err)
	}
}

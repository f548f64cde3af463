package main

import (
	"testing"
	"time"
)

func TestTrimEvery(t *testing.T) {
	for retain, want := range map[time.Duration]time.Duration{
		0:                time.Second,
		time.Minute:      time.Minute / 32,
		30 * time.Minute: 30 * time.Minute / 32,
		168 * time.Hour:  time.Minute,
	} {
		if got := trimEvery(retain); got != want {
			t.Errorf("with --retain %s every %s, want %s", retain, got, want)
		}
	}
}

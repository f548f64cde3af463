package main

import (
	"bytes"
	"math"
	"runtime/pprof"
	"testing"
	"time"

	"github.com/google/pprof/profile"
)

func TestStageOf(t *testing.T) {
	const (
		pebble = "github.com/cockroachdb/pebble/v2."
		store  = module + "internal/pebblestore."
	)
	for _, tc := range []struct {
		want  stage
		stack []string // from the innermost outwards
	}{
		{stageHTTP, []string{"internal/runtime/syscall.Syscall6", "net.(*conn).Write", module + "internal/s3/wire.(*conn).put", module + "internal/s3.(*Destination).put", module + "internal/deliver.work"}},
		{stageSign, []string{"crypto/sha256.block", module + "internal/s3.(*request).build", module + "internal/s3.(*Destination).put", module + "internal/deliver.work"}},
		{stageSign, []string{"github.com/auditdrain/auditdrain.Delivery.ObjectKey", module + "internal/s3.(*Destination).Put"}},
		{stageDeliver, []string{"sync.(*Mutex).Lock", module + "internal/deliver.(*drain).settle", module + "internal/deliver.work"}},
		{stageRead, []string{"sync.(*Mutex).Lock", store + "(*sequence).readTail", store + "(*Store).Read", module + "internal/deliver.(*drain).readAhead"}},
		{stageRead, []string{pebble + "(*Iterator).Next", store + "readEvents", store + "(*Store).Read.func1", store + "do[...].func1"}},
		{stageStore, []string{"syscall.Fdatasync", pebble + "(*DB).Apply", store + "(*appendCall).sync", store + "(*Store).Append.func1", store + "do[...].func1"}},
		{stageStore, []string{"runtime.mallocgc", pebble + "(*DB).flush1", pebble + "(*DB).flush"}},
		{stageIngest, []string{"runtime.mapassign", module + "internal/ingest.(*batch).readEvent", module + "internal/api.(*Server).postEvents", "net/http.(*conn).serve"}},
		{stageIngest, []string{"internal/runtime/syscall.Syscall6", "net.(*conn).Read", "net/http.(*connReader).Read", "net/http.(*conn).serve"}},
		{stageGC, []string{"runtime.scanobject", "runtime.gcDrain", "runtime.gcBgMarkWorker"}},
		{stageGC, []string{"runtime.gcDrainN", "runtime.gcAssistAlloc", "runtime.mallocgc", module + "internal/api.(*Server).postEvents"}},
		{stageRuntime, []string{"runtime.futex", "runtime.findRunnable", "runtime.schedule", "runtime.mcall"}},
		{stageRest, []string{"main.main"}},
		{stageRest, nil},
	} {
		if got := stageOf(tc.stack); got != tc.want {
			t.Errorf("%q: %q, want %q", tc.stack, got, tc.want)
		}
	}
}

// A profile of this process, which does nothing that a service does.
func TestShares(t *testing.T) {
	var b bytes.Buffer
	if err := pprof.StartCPUProfile(&b); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(200 * time.Millisecond); time.Now().Before(end); {
		// Use some CPU.
	}
	pprof.StopCPUProfile()
	p, err := profile.Parse(&b)
	if err != nil {
		t.Fatal(err)
	}
	of, err := shares(p)
	if err != nil {
		t.Fatal(err)
	}
	var sum float64
	for _, s := range stages {
		sum += of[s]
	}
	if math.Abs(sum-1) > 1e-9 || of[stageRest] < 0.3 || of[stageSign] != 0 {
		t.Errorf("shares %v", of)
	}

	p.Sample = nil
	if _, err := shares(p); err == nil {
		t.Error("shares of an empty profile")
	}
	p.SampleType = p.SampleType[:1]
	if _, err := shares(p); err == nil {
		t.Error("shares of what is not a CPU profile")
	}
}

package main

import (
	"context"
	"net/http"
	"strings"
	"testing"
)

func TestSickBuckets(t *testing.T) {
	null, url := startNull(t, nullOptions{Log: true, Sick: []sickness{{1, 2, sickHangs}, {2, 3, sickForbids}, {3, 5, sickBusy}, {6, 7, sickSlow}}})
	status := func(ctx context.Context, bucket int) int {
		req, err := http.NewRequestWithContext(ctx, http.MethodPut, url+"/"+bucketOf(bucket)+"/k", strings.NewReader("x"))
		if err != nil {
			t.Fatal(err)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return 0
		}
		resp.Body.Close()
		return resp.StatusCode
	}
	for bucket, want := range map[int]int{0: 200, 2: 403, 5: 200} {
		if got := status(t.Context(), bucket); got != want {
			t.Errorf("bucket %d: %d, want %d", bucket, got, want)
		}
	}
	answers := make(map[int]int)
	const n = 200
	for range n {
		answers[status(t.Context(), 4)]++
	}
	if answers[200]+answers[503] != n || answers[200] < n/4 || answers[503] < n/4 {
		t.Errorf("answers of a busy bucket: %v", answers)
	}
	// A hanging bucket lets go of a client that gives up, and of none before.
	ctx, cancel := context.WithCancel(t.Context())
	answered := make(chan int, 1)
	go func() { answered <- status(ctx, 1) }()
	for range 10 {
		if status(t.Context(), 0); len(answered) > 0 {
			t.Fatalf("a hanging bucket answered: %d", <-answered)
		}
	}
	cancel()
	if got := <-answered; got != 0 {
		t.Errorf("a hanging bucket answered: %d", got)
	}

	// A slow one takes its time; both are released at the end.
	for _, bucket := range []int{1, 6} {
		go func() { answered <- status(t.Context(), bucket) }()
	}
	for range 10 {
		if status(t.Context(), 0); len(answered) > 0 {
			t.Fatalf("a slow or hanging bucket answered: %d", <-answered)
		}
	}
	null.release()
	for range 2 {
		if got := <-answered; got != 0 {
			t.Errorf("a slow or hanging bucket answered: %d", got)
		}
	}
	if got := status(t.Context(), 1); got != 0 {
		t.Errorf("a hanging bucket that was released answered: %d", got)
	}

	// What sick buckets take is counted apart.
	if puts, sick := null.puts.Load(), null.sickPuts.Load(); puts != 22 || sick != int64(answers[200]) {
		t.Errorf("%d PUTs, and %d to sick buckets; want 22 and %d", puts, sick, answers[200])
	}
	null.mu.Lock()
	defer null.mu.Unlock()
	if len(null.writes) != 22 {
		t.Errorf("%d PUTs in the log, want 22", len(null.writes))
	}
}

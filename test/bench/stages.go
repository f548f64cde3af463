package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/google/pprof/profile"
)

// stage is what an event's CPU time was spent on.
type stage string

const (
	stageIngest  stage = "ingest: HTTP server, decoding, validation, group commit"
	stageStore   stage = "store: append, fsync, flushes and compactions, cursors"
	stageRead    stage = "read: events after the cursor"
	stageDeliver stage = "deliver: turns, windows, cursors"
	stageSign    stage = "sign: key, digests, signature"
	stageHTTP    stage = "HTTP: connections, requests, answers of PUTs"
	stageGC      stage = "garbage collector"
	stageRuntime stage = "scheduler, timers and network poller of Go's runtime"
	stageRest    stage = "all else"
)

var stages = []stage{stageIngest, stageStore, stageRead, stageDeliver, stageSign, stageHTTP, stageGC, stageRuntime, stageRest}

// rule gives what begins with prefix to a stage.
type rule struct {
	prefix string
	stage  stage
}

const module = "github.com/auditdrain/auditdrain/"

// What one of these functions is doing is of their stage, down to the last
// call: whoever allocates may have to help the garbage collector…
var wholeRules = []rule{
	{"runtime.gcAssistAlloc", stageGC},
	{module + "internal/pebblestore.(*Store).Read", stageRead},
}

// … or else a stack's stage is that of the innermost function that one of
// these is about, the first one that fits…
var innerRules = []rule{
	{module + "internal/s3/wire.", stageHTTP},
	{module + "internal/s3.", stageSign},
	{module + "internal/deliver.", stageDeliver},
	{module + "internal/pebblestore.", stageStore},
	{module + "internal/ingest.", stageIngest},
	{module + "internal/api.", stageIngest},
}

// … or else, for what runs in the background or on nobody's behalf, that of the
// first of these.
var backgroundRules = []rule{
	{"github.com/cockroachdb/pebble/", stageStore},
	{"net/http.", stageIngest}, // there is no other server, and no client of weight
	{"runtime.gcBgMarkWorker", stageGC},
	{"runtime.bgsweep", stageGC},
	{"runtime.bgscavenge", stageGC},
	{"runtime.gcStart", stageGC},
	{"runtime.", stageRuntime},
}

// stageOf returns the stage of a stack, given as names of functions from the
// innermost outwards.
func stageOf(stack []string) stage {
	if s, ok := firstRule(wholeRules, stack); ok {
		return s
	}
	for i := range stack {
		if s, ok := firstRule(innerRules, stack[i:i+1]); ok {
			return s
		}
	}
	if s, ok := firstRule(backgroundRules, stack); ok {
		return s
	}
	return stageRest
}

// firstRule returns the stage of the first rule that is about any of the
// functions.
func firstRule(rules []rule, functions []string) (stage, bool) {
	for _, r := range rules {
		for _, f := range functions {
			if strings.HasPrefix(f, r.prefix) {
				return r.stage, true
			}
		}
	}
	return "", false
}

// shares returns which part of a CPU profile each stage has.
func shares(p *profile.Profile) (map[stage]float64, error) {
	at := slices.IndexFunc(p.SampleType, func(t *profile.ValueType) bool { return t.Type == "cpu" })
	if at < 0 {
		return nil, fmt.Errorf("not a CPU profile: it has samples of %v", p.SampleType)
	}
	var all float64
	of := make(map[stage]float64)
	for _, s := range p.Sample {
		var stack []string
		for _, location := range s.Location {
			for _, line := range location.Line {
				stack = append(stack, line.Function.Name)
			}
		}
		of[stageOf(stack)] += float64(s.Value[at])
		all += float64(s.Value[at])
	}
	if all == 0 {
		return nil, fmt.Errorf("an empty profile")
	}
	for s := range of {
		of[s] /= all
	}
	return of, nil
}

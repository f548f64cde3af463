package main

import (
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestDocument(t *testing.T) {
	path := filepath.Join(t.TempDir(), "remarks.md")
	if err := os.WriteFile(path, []byte("# Remarks\n\nHow to write them.\n\n## b\n\nThe disk is slow.\n\n- more\n\n## c\n\n\n## d\nIt is fine.\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	remarks, err := readRemarks(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]string{"b": "The disk is slow.\n\n- more", "d": "It is fine."}, remarks); diff != "" {
		t.Errorf("remarks (-want +got):\n%s", diff)
	}

	figures := table{header: []string{"", "events/s"}}
	figures.row("one", "1")
	figures.row("ö", "1,000")
	d := document{
		machine: machine{date: time.Date(2026, 5, 22, 0, 0, 0, 0, time.UTC), commit: "abc", cpu: "CPU", cores: 2, goVer: "go1", kernel: "Linux 6", fs: "ext4", warnings: []string{"In memory."}},
		rounds:  5, took: 90 * time.Second,
		chapters: []chapter{
			{letter: "a", title: "First", parts: []part{{[]string{"How."}, figures}}, aims: []aim{atMost("x", 3, 2.5, 1, " s")}},
			{letter: "b", title: "Second", aims: []aim{atLeast("y", 3000, 2000, 0, "")}, remarks: remarks["b"]},
			{letter: "c", title: "Third", aims: []aim{atLeast("z", 3, 2, 0, ""), atMost("nothing measured", 1, math.NaN(), 0, "")}},
		},
	}
	var b strings.Builder
	if err := d.write(&b); err != nil {
		t.Fatal(err)
	}
	got := b.String()
	for _, want := range []string{
		"Written by `make bench` on 2026-05-22, in 2 minutes: commit abc, CPU, 2 cores, go1, Linux 6, data on ext4.\n",
		"median of 5 rounds",
		"\nIn memory.\n",
		"" +
			"|                     |     aim | reached |        met? |\n" +
			"|---------------------|--------:|--------:|------------:|\n" +
			"| a) x                | ≤ 3.0 s |   2.5 s |         met |\n" +
			"| b) y                | ≥ 3,000 |   2,000 | **not met** |\n" +
			"| c) z                |     ≥ 3 |       2 | **not met** |\n" +
			"| c) nothing measured |     ≤ 1 |       – | **not met** |\n",
		"\n## a) First\n\nHow.\n\n" +
			"|     | events/s |\n" +
			"|-----|---------:|\n" +
			"| one |        1 |\n" +
			"| ö   |    1,000 |\n",
		"\n## b) Second\n\nThe disk is slow.\n\n- more\n",
		"\n## c) Third\n\nNot all aims are met, and nobody has said why yet",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
	if strings.Contains(got, "Not alone") {
		t.Error("others are told of, though there were none")
	}
	if diff := cmp.Diff([]string{"c"}, d.missing()); diff != "" {
		t.Errorf("missing remarks (-want +got):\n%s", diff)
	}
	d.others = 0.25
	b.Reset()
	if err := d.write(&b); err != nil || !strings.Contains(b.String(), "up to 25 % of the machine") {
		t.Errorf("others are not told of: %v\n%s", err, &b)
	}
}

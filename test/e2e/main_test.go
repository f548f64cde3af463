// Package e2e proves the shipped binary from outside: it is built, started
// as a process of its own with an environment made from scratch, spoken to
// over HTTP, and killed.
//
// internal/awssim runs in the test's process and is the oracle: it knows
// every object, who wrote it, and whether it was ever rewritten. What ought
// to be there is computed by the tests alone (events_test.go), never with
// the product's code.
//
// Tests wait for what they can observe: a line of the log, an answer, a call
// to AWS. Every process ends before the test's deadline, and none may
// outlive it.
package e2e

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/auditdrain/auditdrain/internal/leaktest"
	"github.com/auditdrain/auditdrain/internal/pgtest"
)

var (
	seedFlag = flag.Uint64("e2e.seed", 0, "seed of everything random; 0: a new one")
	soakFlag = flag.Bool("e2e.soak", false, "TestCrash and TestNodes in their long forms, which take a quarter of an hour")
)

// buildDir holds the binaries.
var buildDir string

func TestMain(m *testing.M) {
	flag.Parse()
	os.Exit(testMain(m))
}

func testMain(m *testing.M) (code int) {
	dir, err := os.MkdirTemp("", "auditdrain-e2e-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	buildDir = dir
	code = m.Run()
	stopPostgres()
	if code != 0 {
		return code
	}
	if err := leftovers(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// The binary is built once for all tests that need it.
var (
	plainBinary = sync.OnceValues(func() (string, error) { return build("auditdrain") })
	raceBinary  = sync.OnceValues(func() (string, error) { return build("auditdrain-race", "-race") })
)

func build(name string, flags ...string) (string, error) {
	path := filepath.Join(buildDir, name)
	args := append([]string{"build", "-o", path}, flags...)
	cmd := exec.Command("go", append(args, "github.com/auditdrain/auditdrain/cmd/auditdrain")...)
	if slices.Contains(flags, "-race") {
		cmd.Env = append(os.Environ(), "CGO_ENABLED=1")
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go %s: %w (-race needs a C compiler)\n%s", strings.Join(args, " "), err, out)
	}
	return path, nil
}

// PostgreSQL is started once for all tests that need it.
var startPostgres = sync.OnceValues(func() (*pgtest.Server, error) { return pgtest.Start() })

var postgresStarted bool

func postgres(t *testing.T) *pgtest.Server {
	t.Helper()
	postgresStarted = true
	s, err := startPostgres()
	must(t, err)
	return s
}

func stopPostgres() {
	if !postgresStarted {
		return
	}
	if s, err := startPostgres(); err == nil {
		s.Stop()
	}
}

func binary(t *testing.T) string {
	t.Helper()
	path, err := plainBinary()
	must(t, err)
	return path
}

// racing is the binary with the race detector, which ends the process if it
// finds something.
func racing(t *testing.T) string {
	t.Helper()
	path, err := raceBinary()
	must(t, err)
	return path
}

// leftovers tells of processes and goroutines that tests have left behind.
func leftovers() error {
	if pids := running.list(); len(pids) > 0 {
		return fmt.Errorf("processes were left behind: %v", pids)
	}
	return leaktest.Find()
}

// newSeed returns the seed of a test and notes it for whoever looks into its
// failure.
func newSeed(t *testing.T) uint64 {
	t.Helper()
	seed := *seedFlag
	if seed == 0 {
		seed = rand.Uint64()
	}
	t.Logf("go test -run '^%s$' ./test/e2e -e2e.seed=%d", t.Name(), seed)
	return seed
}

func newRand(seed, stream uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, stream)) }

package main

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"auditdrain": main})
}

// TestScripts runs testdata/*.txtar: the program as people use it, against a
// service that is the program as well. Beside testscript's own commands there
// are
//
//	service FLAGS…      start "auditdrain serve" on $WORK/data, with AUDITDRAIN_URL
//	                    and AUDITDRAIN_TOKEN set for what follows
//	service-stop        stop it with SIGTERM; it must exit with 0
//	capture NAME        put the last stdout in a variable
//	make-events N FILE  write events with the ids uev_0 … to FILE
//
// and $VECTOR is a folder with the bucket of a drain and its manifests, and their key.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata",
		Setup: func(env *testscript.Env) error {
			env.Setenv("HOME", env.WorkDir)
			vector, err := filepath.Abs("../../internal/verify/testdata/vector")
			env.Setenv("VECTOR", vector)
			return err
		},
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"service":      startService,
			"service-stop": stopService,
			"capture":      capture,
			"make-events":  makeEvents,
		},
	})
}

// service is a running "auditdrain serve".
type service struct {
	cmd  *exec.Cmd
	read chan struct{} // closed once all of stderr is in log
	log  strings.Builder
	// stop ends it, once, and returns what it exited with.
	stop func() error
}

// running has the service of each script, by its work directory.
var running sync.Map

var listeningRE = regexp.MustCompile(`msg="auditdrain is listening" url=(\S+)`)

const scriptToken = "ad_abcdefghijklmnopqrstuvwxyz012345"

func startService(ts *testscript.TestScript, neg bool, args []string) {
	if neg {
		ts.Fatalf("usage: service FLAGS…")
	}
	work := ts.Getenv("WORK")
	s := &service{
		cmd:  exec.Command("auditdrain", append([]string{"serve", "--listen", "127.0.0.1:0", "--data", filepath.Join(work, "data")}, args...)...),
		read: make(chan struct{}),
	}
	// AWS is where nothing listens: no test may leave this machine.
	s.cmd.Env = []string{
		"HOME=" + work,
		"PATH=" + os.Getenv("PATH"),
		"AUDITDRAIN_OPERATOR_TOKEN=" + scriptToken,
		"AWS_REGION=eu-central-1",
		"AWS_ACCESS_KEY_ID=AKIDTEST", "AWS_SECRET_ACCESS_KEY=secret",
		"AWS_EC2_METADATA_DISABLED=true",
		"AWS_ENDPOINT_URL_STS=http://127.0.0.1:1", "AWS_ENDPOINT_URL_S3=http://127.0.0.1:1",
	}
	stderr, err := s.cmd.StderrPipe()
	ts.Check(err)
	ts.Check(s.cmd.Start())
	s.stop = sync.OnceValue(func() error {
		s.cmd.Process.Signal(syscall.SIGTERM) // fails if it has exited, and Wait says with what
		<-s.read
		return s.cmd.Wait()
	})
	ts.Defer(func() { s.stop() })
	running.Store(work, s)

	url := make(chan string, 1)
	go func() {
		defer close(s.read)
		defer close(url)
		found := false
		for lines := bufio.NewScanner(stderr); lines.Scan(); {
			fmt.Fprintln(&s.log, lines.Text())
			if m := listeningRE.FindStringSubmatch(lines.Text()); m != nil && !found {
				found = true
				url <- m[1]
			}
		}
	}()
	at, ok := <-url
	if !ok {
		ts.Fatalf("auditdrain serve: %v\n%s", s.stop(), s.log.String())
	}
	ts.Setenv("AUDITDRAIN_URL", at)
	ts.Setenv("AUDITDRAIN_TOKEN", scriptToken)
}

func stopService(ts *testscript.TestScript, neg bool, args []string) {
	s, ok := running.Load(ts.Getenv("WORK"))
	if neg || len(args) > 0 || !ok {
		ts.Fatalf("usage: service-stop, after service")
	}
	if err := s.(*service).stop(); err != nil {
		ts.Fatalf("auditdrain serve: %v\n%s", err, s.(*service).log.String())
	}
}

func capture(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: capture NAME")
	}
	ts.Setenv(args[0], strings.TrimSpace(ts.ReadFile("stdout")))
}

func makeEvents(ts *testscript.TestScript, neg bool, args []string) {
	n, err := strconv.Atoi(args[0])
	if neg || len(args) != 2 || err != nil {
		ts.Fatalf("usage: make-events N FILE")
	}
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `{"id":"uev_%d","action":"drain-created","timestamp":%d,"actor":{"type":"user","id":"u1","name":"Zoë"}}`+"\n", i, 1779444000000+i)
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[1]), []byte(b.String()), 0o600))
}

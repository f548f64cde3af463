package deploy

import (
	"bufio"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/auditdrain/auditdrain/internal/pgtest"
)

// The program takes the environment of each variant, is ready with it, and ends
// in order. Only addresses and secrets are the test's.
func TestStarts(t *testing.T) {
	postgres, err := pgtest.Start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(postgres.Stop)
	project, err := compose(t, given(), "compose.yaml")
	if err != nil {
		t.Fatal(err)
	}
	node := map[string]string{}
	for name, value := range project.Services["node1"].Environment {
		if value != nil {
			node[name] = *value
		}
	}
	variants := map[string]map[string]string{"compose": node, "systemd": unitEnvironment(t)}
	for name, c := range clusters(t) {
		variants["kubernetes "+name] = environment(c)
	}
	for name, env := range variants {
		t.Run(name, func(t *testing.T) {
			env = maps.Clone(env)
			env["AUDITDRAIN_LISTEN"] = "127.0.0.1:0"
			env["AUDITDRAIN_DATA"] = t.TempDir()
			env["AUDITDRAIN_OPERATOR_TOKEN"] = given()["AUDITDRAIN_OPERATOR_TOKEN"]
			env["AWS_EC2_METADATA_DISABLED"] = "true"
			if _, ok := env["AUDITDRAIN_KEY_FILE"]; ok {
				env["AUDITDRAIN_KEY_FILE"] = keyFile(t)
			}
			if _, ok := env["AUDITDRAIN_POSTGRES"]; ok {
				env["AUDITDRAIN_POSTGRES"] = postgres.URL(postgres.NewSchema(t))
			} else if name != "kubernetes single" {
				t.Error("it does not say which database")
			}
			isReady(t, env)
		})
	}
}

func keyFile(t *testing.T) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "key-file")
	if err := os.WriteFile(file, []byte(strings.Repeat("x", 44)+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// unitEnvironment is what auditdrain.env sets, and all that it proposes.
func unitEnvironment(t *testing.T) map[string]string {
	t.Helper()
	env := map[string]string{}
	for _, m := range regexp.MustCompile(`(?m)^#?([A-Z_]+)=(.*)$`).FindAllStringSubmatch(read(t, "../../deploy/systemd/auditdrain.env"), -1) {
		env[m[1]] = m[2]
	}
	return env
}

var urlRE = regexp.MustCompile(`auditdrain is listening"[ ,]"?url"?[=:]"?(http://[^" ]+)`)

func isReady(t *testing.T, env map[string]string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), program(t).path, "serve")
	for name, value := range env {
		cmd.Env = append(cmd.Env, name+"="+value)
	}
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var log strings.Builder
	for lines := bufio.NewScanner(stderr); lines.Scan(); {
		log.WriteString(lines.Text() + "\n")
		m := urlRE.FindStringSubmatch(lines.Text())
		if m == nil {
			continue
		}
		for _, probe := range []string{"/healthz", "/readyz"} {
			resp, err := http.Get(m[1] + probe)
			if err != nil {
				t.Errorf("%s: %v", probe, err)
				continue
			}
			_ = resp.Body.Close()
			if resp.StatusCode != http.StatusOK {
				t.Errorf("%s is %s", probe, resp.Status)
			}
		}
		if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
			t.Error(err)
		}
	}
	if err := cmd.Wait(); err != nil || !urlRE.MatchString(log.String()) {
		t.Errorf("it ends with %v:\n%s", err, &log)
	}
}

package deploy

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// builtProgram is the real program, and what it says of itself.
type builtProgram struct {
	path string
	help string // of all commands that deploy/ names
}

var built = sync.OnceValues(func() (builtProgram, error) {
	dir, err := os.MkdirTemp("", "deploy")
	if err != nil {
		return builtProgram{}, err
	}
	p := builtProgram{path: filepath.Join(dir, "auditdrain")}
	build := exec.Command("go", "build", "-o", p.path, "./cmd/auditdrain")
	build.Dir, build.Stderr = "../..", os.Stderr
	if err := build.Run(); err != nil {
		return builtProgram{}, err
	}
	for _, command := range []string{"serve", "migrate"} {
		out, err := exec.Command(p.path, command, "--help").Output()
		if err != nil {
			return builtProgram{}, err
		}
		p.help += string(out)
	}
	return p, nil
})

func program(t *testing.T) builtProgram {
	t.Helper()
	p, err := built()
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestMain(m *testing.M) {
	code := m.Run()
	if p, err := built(); err == nil {
		_ = os.RemoveAll(filepath.Dir(p.path))
	}
	os.Exit(code)
}

// duration is the default of a flag.
func (p builtProgram) duration(t *testing.T, flag string) time.Duration {
	t.Helper()
	m := regexp.MustCompile(`--` + flag + ` duration .*\(default (\S+)\)`).FindStringSubmatch(p.help)
	if m == nil {
		t.Fatalf("--help tells no default of --%s", flag)
	}
	d, err := time.ParseDuration(m[1])
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func read(t *testing.T, path string) string {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

// Every variable and flag of ours that a file in deploy/ names, in comments too,
// is one that the program knows.
func TestSettingsExist(t *testing.T) {
	help := program(t).help
	variableRE := regexp.MustCompile(`\bAUDITDRAIN_[A-Z_]*[A-Z]`)
	variables := variableRE.FindAllString(help, -1)
	flags := regexp.MustCompile(`--[a-z][a-z-]+`).FindAllString(help, -1)
	// Flags stand alone in a comment, or in a call of ours.
	flagRE := regexp.MustCompile("(?m)(?:^|[ `(])(--[a-z][a-z-]+)")
	others := regexp.MustCompile(`\b(aws|docker|kubectl|openssl|pg_isready|systemctl|systemd-analyze)\b|--service-account|--from-literal`)
	seen := map[string]int{}
	files := []string{"../../Dockerfile"}
	if err := filepath.WalkDir("../../deploy", func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			files = append(files, path)
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		for line := range strings.Lines(read(t, file)) {
			for _, name := range variableRE.FindAllString(line, -1) {
				seen[name]++
				if !slices.Contains(variables, name) {
					t.Errorf("%s: %s is not known", file, name)
				}
			}
			if others.MatchString(line) || filepath.Base(file) == "Dockerfile" {
				continue
			}
			for _, m := range flagRE.FindAllStringSubmatch(line, -1) {
				seen[m[1]]++
				if !slices.Contains(flags, m[1]) {
					t.Errorf("%s: %s is not known", file, m[1])
				}
			}
		}
	}
	for _, name := range []string{"AUDITDRAIN_POSTGRES", "AUDITDRAIN_OPERATOR_TOKEN", "--shutdown-timeout"} {
		if seen[name] == 0 {
			t.Errorf("%s was not found in deploy/", name)
		}
	}
}

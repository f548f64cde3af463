package deploy

import (
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/compose-spec/compose-go/v2/loader"
	"github.com/compose-spec/compose-go/v2/types"
	"github.com/google/go-cmp/cmp"
)

// compose loads files of deploy/compose as docker compose does.
func compose(t *testing.T, env types.Mapping, files ...string) (*types.Project, error) {
	t.Helper()
	dir, err := filepath.Abs("../../deploy/compose")
	if err != nil {
		t.Fatal(err)
	}
	details := types.ConfigDetails{WorkingDir: dir, Environment: env}
	for _, f := range files {
		details.ConfigFiles = append(details.ConfigFiles, types.ConfigFile{Filename: filepath.Join(dir, f)})
	}
	return loader.LoadWithContext(t.Context(), details)
}

// given is what env.example asks for.
func given() types.Mapping {
	return types.Mapping{"AUDITDRAIN_OPERATOR_TOKEN": "ad_0123456789abcdef01234567", "POSTGRES_PASSWORD": "p@ss/word", "AWS_ACCESS_KEY_ID": "AKIAEXAMPLE"}
}

var nodeNames = []string{"node1", "node2", "node3"}

func TestCompose(t *testing.T) {
	p, err := compose(t, given(), "compose.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if got, want := slices.Sorted(maps.Keys(p.Services)), append([]string{"db"}, append(slices.Clone(nodeNames), "proxy")...); !slices.Equal(got, want) {
		t.Fatalf("services are %v, want %v", got, want)
	}
	db := p.Services["db"]
	if db.Image != "postgres:15" || db.HealthCheck == nil || len(db.Ports) > 0 || len(db.Volumes) != 1 {
		t.Errorf("the database is not PostgreSQL 15 with a health check, a volume and no way in: %+v", db)
	}
	first := p.Services["node1"]
	for _, name := range nodeNames {
		node := p.Services[name]
		if node.Hostname != name {
			t.Errorf("%s calls itself %s", name, node.Hostname)
		}
		if d := cmp.Diff(first.Environment, node.Environment); d != "" {
			t.Errorf("environments of node1 and %s (-node1 +%s):\n%s", name, name, d)
		}
		if node.DependsOn["db"].Condition != types.ServiceConditionHealthy || len(node.Ports) > 0 {
			t.Errorf("%s does not wait for the database, or can be had without the proxy", name)
		}
		if file := node.Environment["AUDITDRAIN_KEY_FILE"]; len(node.Secrets) != 1 || file == nil || *file != "/run/secrets/"+node.Secrets[0].Source {
			t.Errorf("%s does not have the key file where it looks for it: %v", name, node.Secrets)
		}
		if !node.ReadOnly || !slices.Equal(node.CapDrop, []string{"ALL"}) || !slices.Contains(node.SecurityOpt, "no-new-privileges:true") {
			t.Errorf("%s may do what it need not", name)
		}
		if grace, shutdown := time.Duration(*node.StopGracePeriod), program(t).duration(t, "shutdown-timeout"); grace < shutdown+5*time.Second {
			t.Errorf("a shutdown of %s may take %s, and is killed after %s", name, shutdown, grace)
		}
	}
	env := first.Environment.Resolve(func(string) (string, bool) { return "", false })
	if key := env["AWS_ACCESS_KEY_ID"]; key == nil || *key != "AKIAEXAMPLE" {
		t.Errorf("AWS credentials of the environment are not passed on")
	}
	for _, port := range p.Services["proxy"].Ports {
		if port.HostIP != "127.0.0.1" {
			t.Errorf("port %s can be reached from other machines, without TLS", port.Published)
		}
	}
}

// A secret that is missing is an error, not an empty password.
func TestComposeAsksForSecrets(t *testing.T) {
	for _, name := range []string{"AUDITDRAIN_OPERATOR_TOKEN", "POSTGRES_PASSWORD"} {
		env := given()
		delete(env, name)
		if _, err := compose(t, env, "compose.yaml"); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("without %s: %v", name, err)
		}
		if !strings.Contains(read(t, "../../deploy/compose/env.example"), "\n"+name+"=\n") {
			t.Errorf("env.example does not name %s", name)
		}
	}
}

func TestComposeWithTLS(t *testing.T) {
	if _, err := compose(t, given(), "compose.yaml", "compose.tls.yaml"); err == nil || !strings.Contains(err.Error(), "DOMAIN") {
		t.Errorf("without a domain: %v", err)
	}
	env := given()
	env["DOMAIN"] = "drains.example.com"
	p, err := compose(t, env, "compose.yaml", "compose.tls.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range nodeNames {
		if got := p.Services[name].Environment["AUDITDRAIN_PUBLIC_URL"]; *got != "https://drains.example.com" || p.Services[name].Environment["AUDITDRAIN_POSTGRES"] == nil {
			t.Errorf("the public URL of %s is %s", name, *got)
		}
	}
	var ports []string
	for _, port := range p.Services["proxy"].Ports {
		ports = append(ports, port.Published)
	}
	if site := *p.Services["proxy"].Environment["SITE_ADDRESS"]; site != "drains.example.com" || !slices.Equal(ports, []string{"80", "443"}) {
		t.Errorf("the proxy is %s on ports %v", site, ports)
	}
}

// The proxy sends calls to all nodes, on their port, and keeps inside what needs
// no token.
func TestComposeProxy(t *testing.T) {
	caddyfile := read(t, "../../deploy/compose/Caddyfile")
	var want []string
	for _, name := range nodeNames {
		want = append(want, name+":8080")
	}
	if !strings.Contains(caddyfile, "reverse_proxy "+strings.Join(want, " ")+" {") {
		t.Errorf("the proxy does not know %v", want)
	}
	if !strings.Contains(read(t, "../../Dockerfile"), "AUDITDRAIN_LISTEN=0.0.0.0:8080") {
		t.Error("the image does not listen where the proxy expects it")
	}
	inside := regexp.MustCompile(`@inside path (.*)`).FindStringSubmatch(caddyfile)
	if inside == nil || inside[1] != "/metrics /healthz /readyz /openapi.json" || !strings.Contains(caddyfile, "respond @inside 404") {
		t.Errorf("the proxy keeps %q inside", inside)
	}
}

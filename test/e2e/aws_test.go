package e2e

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/auditdrain/auditdrain"
	"github.com/auditdrain/auditdrain/internal/awssim"
	"github.com/auditdrain/auditdrain/internal/iam"
)

// The platform's own AWS account.
const (
	homeRegion = "us-east-1"
	accessKey  = "AKIAE2EE2EE2EE2EE2E2"
	secretKey  = "opens/nothing-but-awssim"
	writerRole = "arn:aws:iam::977805900156:role/vercel-drains-s3-writer"
	userARN    = "arn:aws:iam::977805900156:user/auditdrain"
)

// cloud is an AWS that counts.
type cloud struct {
	*awssim.Sim
	t   *testing.T
	url string
	dir string // of the objects' files

	mu      sync.Mutex
	objects map[string]bool            // bucket/key of all events that are there
	papers  map[string]map[string]bool // SHA-256 of all that was tried to be written, by document: see paper
	puts    map[string]int             // calls by bucket/key, whatever came of them
	assumed map[string]int             // successful calls by role ARN
	refused []awssim.Call              // of AssumeRole
	changed chan struct{}              // closed and replaced by every call
}

// newCloud returns an AWS on loopback that runs until the test ends.
func newCloud(t *testing.T) *cloud {
	t.Helper()
	dir := t.TempDir()
	sim, err := awssim.New(awssim.Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	c := &cloud{
		Sim:     sim,
		t:       t,
		dir:     dir,
		objects: map[string]bool{},
		papers:  map[string]map[string]bool{},
		puts:    map[string]int{},
		assumed: map[string]int{},
		changed: make(chan struct{}),
	}
	sim.Observe(c.observe)
	must(t,
		sim.AddUser(awssim.User{ARN: userARN, AccessKeyID: accessKey, SecretKey: secretKey,
			Identity: policies(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"sts:AssumeRole","Resource":"` + writerRole + `"}]}`)}),
		sim.AddRole(awssim.Role{ARN: writerRole,
			Trust:    iam.MustParse(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"` + userARN + `"},"Action":"sts:AssumeRole"}]}`),
			Identity: policies(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"sts:AssumeRole","Resource":"*"}]}`)}),
	)
	c.url = c.serve(func() bool { return false })
	return c
}

// serve answers at an address of its own until the test ends. Connections are
// reset, before anything is read from them, if refuse says so.
func (c *cloud) serve(refuse func() bool) (url string) {
	c.t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		c.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- c.Serve(ctx, gate{listener, refuse}) }()
	c.t.Cleanup(func() {
		cancel()
		if err := <-served; err != nil {
			c.t.Error(err)
		}
	})
	return "http://" + listener.Addr().String()
}

// gate is a listener that does not let everybody in.
type gate struct {
	net.Listener
	refuse func() bool
}

func (g gate) Accept() (net.Conn, error) {
	for {
		conn, err := g.Listener.Accept()
		if err != nil || !g.refuse() {
			return conn, err
		}
		conn.(*net.TCPConn).SetLinger(0)
		conn.Close()
	}
}

func must(t *testing.T, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

func policies(documents ...string) []*iam.Policy {
	var out []*iam.Policy
	for _, d := range documents {
		out = append(out, iam.MustParse(d))
	}
	return out
}

func (c *cloud) observe(call awssim.Call) {
	c.mu.Lock()
	defer c.mu.Unlock()
	ok := call.Status == 200
	switch call.Op {
	case "PutObject":
		c.puts[call.Bucket+"/"+call.Key]++
		if name, isPaper := paper(call.Key); isPaper {
			if c.papers[name] == nil {
				c.papers[name] = map[string]bool{}
			}
			c.papers[name][call.Header.Get("X-Amz-Content-Sha256")] = true
		} else if ok || call.Status == 412 {
			c.objects[call.Bucket+"/"+call.Key] = true
		}
	case "AssumeRole":
		if ok {
			c.assumed[call.RoleARN]++
		} else {
			c.refused = append(c.refused, call)
		}
	}
	close(c.changed)
	c.changed = make(chan struct{})
}

// written is how many objects there are, and a channel that is closed when
// that may have changed.
func (c *cloud) written() (int, <-chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.objects), c.changed
}

// awaitObjects waits until n objects are there.
func (c *cloud) awaitObjects(n int) {
	c.t.Helper()
	timer := time.NewTimer(3 * patience)
	defer timer.Stop()
	for {
		got, changed := c.written()
		if got >= n {
			return
		}
		select {
		case <-changed:
		case <-timer.C:
			c.t.Fatalf("%d objects after %s, want %d", got, 3*patience, n)
		}
	}
}

// awaitEvents waits until all events of the teams are in all their buckets.
func (c *cloud) awaitEvents(teams []*team) {
	c.t.Helper()
	timer := time.NewTimer(3 * patience)
	defer timer.Stop()
	for {
		missing, changed := c.missing(teams)
		if missing == 0 {
			return
		}
		select {
		case <-changed:
		case <-timer.C:
			c.t.Fatalf("%d objects are missing after %s", missing, 3*patience)
		}
	}
}

// missing is how many objects of the teams are not there, and a channel that
// is closed when that may have changed.
func (c *cloud) missing(teams []*team) (n int, changed <-chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, tm := range teams {
		for _, g := range tm.targets {
			for _, e := range tm.events {
				if !c.objects[g.bucket+"/"+e.key(g)] {
					n++
				}
			}
		}
	}
	return n, c.changed
}

// calls returns how often each object was tried to be written.
func (c *cloud) calls() map[string]int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return maps.Clone(c.puts)
}

// sessions returns how often each role was assumed.
func (c *cloud) sessions() map[string]int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return maps.Clone(c.assumed)
}

// refusals returns the calls of AssumeRole that were refused.
func (c *cloud) refusals() []awssim.Call {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]awssim.Call(nil), c.refused...)
}

// target is a place in somebody's AWS account that one drain writes to, set
// up as the documentation tells customers to, and no permission more.
type target struct {
	account    string
	role       string // path and name
	bucket     string
	prefix     string
	region     string
	encryption awssim.Encryption // the bucket's default; a key of the customer's if KMSKeyARN is set
	ownership  awssim.Ownership

	encoding string
	sse      string // as configured in the drain
	acl      string // likewise

	integrity bool
}

func (g target) roleARN() string { return "arn:aws:iam::" + g.account + ":role/" + g.role }

func (g target) delivery() *auditdrain.Delivery {
	return &auditdrain.Delivery{
		Type:                 "s3",
		Endpoint:             strings.TrimSuffix("s3://"+g.bucket+"/"+g.prefix, "/"),
		Encoding:             g.encoding,
		RoleARN:              g.roleARN(),
		Region:               g.region,
		ServerSideEncryption: g.sse,
		ObjectACL:            g.acl,
		Integrity:            g.integrity,
	}
}

// addTargets adds buckets, keys and the one role that one team's targets
// share. The role trusts whoever brings the external ID.
func (c *cloud) addTargets(externalID string, targets ...target) {
	c.t.Helper()
	var statements []string
	for _, g := range targets {
		resource := "arn:aws:s3:::" + g.bucket + "/*"
		if g.prefix != "" {
			resource = "arn:aws:s3:::" + g.bucket + "/" + g.prefix + "/*"
		}
		actions := `["s3:PutObject"]`
		if g.acl != "" {
			actions = `["s3:PutObject","s3:PutObjectAcl"]`
		}
		statements = append(statements, fmt.Sprintf(`{"Effect":"Allow","Action":%s,"Resource":%q}`, actions, resource))
		if key := g.encryption.KMSKeyARN; key != "" {
			via := fmt.Sprintf(`"Condition":{"StringEquals":{"kms:CallerAccount":%q,"kms:ViaService":"s3.%s.amazonaws.com"}}`, g.account, g.region)
			statements = append(statements, fmt.Sprintf(`{"Effect":"Allow","Action":"kms:GenerateDataKey","Resource":%q,%s}`, key, via))
			must(c.t, c.AddKey(awssim.Key{ARN: key, Policy: iam.MustParse(fmt.Sprintf(
				`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":%q},"Action":"kms:GenerateDataKey","Resource":"*",%s}]}`,
				g.roleARN(), via))}))
		}
		must(c.t, c.AddBucket(awssim.Bucket{
			Name: g.bucket, Account: g.account, Region: g.region, Encryption: g.encryption, Ownership: g.ownership,
		}))
	}
	must(c.t, c.AddRole(awssim.Role{
		ARN:      targets[0].roleARN(),
		Trust:    trust(externalID),
		Identity: policies(`{"Version":"2012-10-17","Statement":[` + strings.Join(statements, ",") + `]}`),
	}))
}

func trust(externalID string) *iam.Policy {
	return iam.MustParse(fmt.Sprintf(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":%q},
		"Action":"sts:AssumeRole","Condition":{"StringEquals":{"sts:ExternalId":%q}}}]}`, writerRole, externalID))
}

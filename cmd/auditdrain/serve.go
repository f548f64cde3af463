package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/spf13/cobra"

	"github.com/auditdrain/auditdrain"
	"github.com/auditdrain/auditdrain/internal/activity"
	"github.com/auditdrain/auditdrain/internal/anchor"
	"github.com/auditdrain/auditdrain/internal/api"
	"github.com/auditdrain/auditdrain/internal/deliver"
	"github.com/auditdrain/auditdrain/internal/diagnose"
	"github.com/auditdrain/auditdrain/internal/ingest"
	"github.com/auditdrain/auditdrain/internal/notify"
	"github.com/auditdrain/auditdrain/internal/pebblestore"
	"github.com/auditdrain/auditdrain/internal/pgstore"
	"github.com/auditdrain/auditdrain/internal/s3"
	"github.com/auditdrain/auditdrain/internal/series"
	"github.com/auditdrain/auditdrain/internal/setup"
	"github.com/auditdrain/auditdrain/internal/signing"
	"github.com/auditdrain/auditdrain/internal/web"
	"github.com/auditdrain/auditdrain/internal/webhook"
)

// trimEvery is how often delivered events that are old enough are removed: as
// often as the precision of retain asks for, within reason.
func trimEvery(retain time.Duration) time.Duration {
	return min(max(retain/32, time.Second), time.Minute)
}

// settings are what serve can be told.
type settings struct {
	listen          string
	publicURL       string
	data            string
	postgres        string
	lease           time.Duration
	nodeName        string
	keyFile         string
	kmsKey          string
	lostSigningKey  string
	namespace       string
	writerRoleARN   string
	templateURL     string
	unsafeRoles     string
	retain          time.Duration
	minFreeDisk     pebblestore.MinFree
	logFormat       string
	perDrainMetrics bool
	notifyURL       string
	anchorURL       string
	notifyDelay     time.Duration
	putTimeout      time.Duration
	stsTimeout      time.Duration
	shutdownTimeout time.Duration
	debugListen     string
}

func newServeCommand() *cobra.Command {
	var set settings
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run the service",
		Long: `Run the service until SIGTERM or SIGINT.

AWS credentials, region and endpoints come from the standard AWS environment,
files and metadata services. The first start writes an operator token to
DATA/operator-token, unless AUDITDRAIN_OPERATOR_TOKEN gives one, and a key file to
DATA/key-file, unless --key-file or --kms-key gives something else to keep the keys
with that manifests are signed with. With --postgres any number of processes share
the work, nothing is kept in a folder, and AUDITDRAIN_OPERATOR_TOKEN is needed. --notify-url needs AUDITDRAIN_NOTIFY_SECRET: whsec_ and the output of openssl rand -base64 32.`,
		Args:              cobra.NoArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			log, err := newLogger(cmd.ErrOrStderr(), set.logFormat)
			if err != nil {
				return err
			}
			return serve(cmd.Context(), set, log, nil)
		},
	}
	f := cmd.Flags()
	f.StringVar(&set.listen, "listen", "127.0.0.1:8080", "`address` to listen on; put TLS in front of any that is not loopback")
	f.StringVar(&set.publicURL, "public-url", "", "`URL` where people reach the pages, which portal links begin with, such as https://audit.example.com; default: http:// and the address listened on")
	f.StringVar(&set.data, "data", "./auditdrain-data", "`folder` of the embedded store")
	f.StringVar(&set.postgres, "postgres", "", "`URL` of a PostgreSQL database, such as postgres://user@host:5432/auditdrain, that any number of processes share, instead of a folder; give a password by the variable, or as PGPASSWORD or PGPASSFILE")
	f.DurationVar(&set.lease, "lease", pgstore.DefaultLease, "with --postgres: how long it takes at most until others take over the drains of a process that has died")
	f.StringVar(&set.nodeName, "node-name", "", "with --postgres: `name` of this process in logs, metrics and the database; default: the host's")
	f.StringVar(&set.keyFile, "key-file", "", "`file` with 32 or more random characters that signing keys are encrypted with, the same for all processes; default: DATA/key-file, and with --postgres none, so that manifests cannot be signed")
	f.StringVar(&set.kmsKey, "kms-key", "", "`ARN` of a key in AWS KMS (ECC_NIST_EDWARDS25519) that signs manifests, instead of --key-file")
	f.StringVar(&set.lostSigningKey, "lost-signing-key", "", "`ID` of a signing key whose key file is lost: a new key takes its place at once")
	f.StringVar(&set.namespace, "namespace", string(auditdrain.DefaultNamespace), "beginning of schema `name` and external IDs")
	f.StringVar(&set.writerRoleARN, "writer-role-arn", "", "`ARN` of the role that customers' trust policies name, assumed first; without it, customers trust what the service runs as")
	f.StringVar(&set.unsafeRoles, "unsafe-roles", "warn", "what to do about `roles` that others than their team could use: warn in test deliveries, or refuse to enable their drains")
	f.StringVar(&set.templateURL, "setup-template-url", "", "`URL` in S3 of the CloudFormation template that quick-create links open: the output of auditdrain setup cloudformation --writer-role-arn ARN")
	f.DurationVar(&set.retain, "retain", 168*time.Hour, "how long events are kept after their delivery; undelivered ones are always kept")
	f.TextVar(&set.minFreeDisk, "min-free-disk", pebblestore.MinFree{Percent: 5}, "how much of the disk must be free for events to be taken: a `share` such as 5%, a size such as 10GiB, or 0; below it events are refused and all else goes on")
	f.StringVar(&set.logFormat, "log-format", "text", "`format` of the log: text or json")
	f.BoolVar(&set.perDrainMetrics, "per-drain-metrics", false, "add series of each drain to /metrics, about ten")
	f.StringVar(&set.notifyURL, "notify-url", "", "`URL` of the operator's webhook, https or on this machine, which is told of drains that become errored, recover, fall behind and catch up")
	f.DurationVar(&set.notifyDelay, "notify-delay", 15*time.Minute, "how long a drain's oldest event may wait before the webhook is told; 0s: it never is")
	f.StringVar(&set.anchorURL, "anchor-url", "", "`URL` of a receiver, https or on this machine, that keeps the heads of manifests where the operator cannot change them; teams may have another (auditdrain team update --anchor-url)")
	f.DurationVar(&set.putTimeout, "put-timeout", s3.DefaultPutTimeout, "how long one attempt to write an object may take; then it is repeated")
	f.DurationVar(&set.stsTimeout, "sts-timeout", s3.DefaultSTSTimeout, "how long one call to STS may take; then it is repeated")
	f.DurationVar(&set.shutdownTimeout, "shutdown-timeout", 30*time.Second, "how long a shutdown may take")
	f.StringVar(&set.debugListen, "debug-listen", "", "loopback `address` that Go's profiles (pprof) are served on; without it, nowhere")
	_ = cmd.RegisterFlagCompletionFunc("log-format", cobra.FixedCompletions([]string{"text", "json"}, cobra.ShellCompDirectiveNoFileComp))
	_ = cmd.RegisterFlagCompletionFunc("unsafe-roles", cobra.FixedCompletions([]string{"warn", "refuse"}, cobra.ShellCompDirectiveNoFileComp))
	_ = cmd.MarkFlagDirname("data")
	_ = cmd.MarkFlagFilename("key-file")
	return cmd
}

func newLogger(w io.Writer, format string) (*slog.Logger, error) {
	switch format {
	case "text":
		return slog.New(slog.NewTextHandler(w, nil)), nil
	case "json":
		return slog.New(slog.NewJSONHandler(w, nil)), nil
	}
	return nil, usagef("--log-format: %q is not allowed: use text or json", format)
}

func (set settings) validate() error {
	if err := set.validateSharing(); err != nil {
		return err
	}
	if err := set.validateSigning(); err != nil {
		return err
	}
	if err := auditdrain.Namespace(set.namespace).Validate(); err != nil {
		return usagef("--%w", err)
	}
	if set.publicURL != "" && !validPublicURL(set.publicURL) {
		return usagef("--public-url: %q is not allowed: use http:// or https:// and a host, without a path, such as https://audit.example.com", set.publicURL)
	}
	if _, ok := auditdrain.ParseRoleARN(set.writerRoleARN); set.writerRoleARN != "" && !ok {
		return usagef("--writer-role-arn: %q is not an IAM role ARN, such as arn:aws:iam::123456789012:role/auditdrain-writer", set.writerRoleARN)
	}
	if err := setup.ValidTemplateURL(set.templateURL); set.templateURL != "" && err != nil {
		return usagef("--setup-template-url: %w", err)
	}
	if set.unsafeRoles != "warn" && set.unsafeRoles != "refuse" {
		return usagef("--unsafe-roles: %q is not allowed: use warn or refuse", set.unsafeRoles)
	}
	if set.retain < 0 {
		return usagef("--retain: %s is not allowed: use 0s or more", set.retain)
	}
	if err := auditdrain.CheckReceiverURL(set.notifyURL); set.notifyURL != "" && err != nil {
		return usagef("--notify-url: %w", err)
	}
	if err := auditdrain.CheckReceiverURL(set.anchorURL); set.anchorURL != "" && err != nil {
		return usagef("--anchor-url: %w", err)
	}
	if set.notifyDelay < 0 {
		return usagef("--notify-delay: %s is not allowed: use 0s or more", set.notifyDelay)
	}
	if set.putTimeout <= 0 {
		return usagef("--put-timeout: %s is not allowed: use more than 0s", set.putTimeout)
	}
	if set.stsTimeout <= 0 {
		return usagef("--sts-timeout: %s is not allowed: use more than 0s", set.stsTimeout)
	}
	if set.shutdownTimeout <= 0 {
		return usagef("--shutdown-timeout: %s is not allowed: use more than 0s", set.shutdownTimeout)
	}
	if set.debugListen != "" {
		return validDebugListen(set.debugListen)
	}
	return nil
}

// validPublicURL reports whether s is the root of a web server: pages have
// absolute paths, and so must be there.
func validPublicURL(s string) bool {
	u, err := url.Parse(s)
	return err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Hostname() != "" &&
		(*u == url.URL{Scheme: u.Scheme, Host: u.Host} || *u == url.URL{Scheme: u.Scheme, Host: u.Host, Path: "/"})
}

// serve runs the service until ctx ends, and returns nil if that was orderly.
// If started is not nil, it is called once requests are answered.
func serve(ctx context.Context, set settings, log *slog.Logger, started func(*instance)) (err error) {
	if err := set.validate(); err != nil {
		return err
	}
	givenToken, err := tokenFromEnvironment()
	if err != nil {
		return err
	}
	if set.postgres != "" && givenToken == "" {
		return usagef("--postgres needs AUDITDRAIN_OPERATOR_TOKEN, the same for all processes: they have no folder in common that it could be in")
	}
	notifySecrets, err := notifySecretsFromEnvironment(set.notifyURL)
	if err != nil {
		return err
	}
	aws, err := s3.LoadConfig(ctx, log)
	if err != nil {
		return err
	}
	defer limitShutdown(ctx, set.shutdownTimeout, log)()
	eng, err := openEngine(ctx, set, log)
	if err != nil {
		return err
	}
	defer func() {
		if closeErr := eng.store.Close(); err == nil && closeErr != nil {
			err = closeErr
		}
	}()
	if err := ensureSystemTeam(ctx, eng.store); err != nil {
		return err
	}
	operator, err := operatorToken(givenToken, set.data, log)
	if err != nil {
		return err
	}
	keyring, err := openKeyring(ctx, set, signing.Options{Store: eng.store, AWS: aws, Log: log})
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", set.listen)
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	stopDebug, err := serveDebug(ctx, set.debugListen, log)
	if err != nil {
		return errors.Join(err, listener.Close())
	}
	defer stopDebug()

	client := s3.New(s3.Config{
		AWS:           aws,
		Namespace:     auditdrain.Namespace(set.namespace),
		WriterRoleARN: set.writerRoleARN,
		PutTimeout:    set.putTimeout,
		STSTimeout:    set.stsTimeout,
	})
	defer client.Close()
	in, err := newInstance(set, listener.Addr().String(), log, eng, client, keyring, operator, notifySecrets)
	if err != nil {
		return errors.Join(err, listener.Close())
	}
	log.Info("auditdrain is listening", append([]any{"url", in.url, "version", buildVersion()}, eng.about...)...)
	if started != nil {
		started(in)
	}
	return in.run(ctx, listener)
}

// limitShutdown ends the process if it is still there so long after ctx has
// ended, unless the function that it returns is called before. A disk that
// hangs must not keep the process: what was acknowledged is safe in any case.
func limitShutdown(ctx context.Context, timeout time.Duration, log *slog.Logger) (cancel func()) {
	finished := make(chan struct{})
	go func() {
		select {
		case <-ctx.Done():
		case <-finished:
			return
		}
		select {
		case <-time.After(timeout):
			log.Error("the shutdown takes too long; ending it", "timeout", timeout)
			os.Exit(1)
		case <-finished:
		}
	}()
	return func() { close(finished) }
}

// instance is a service that has been put together.
type instance struct {
	settings
	log       *slog.Logger
	engine    engine
	aws       *s3.Client
	committer *ingest.Committer
	forwarder *activity.Forwarder
	deliverer *deliver.Deliverer
	recorder  *series.Recorder
	notifier  *notify.Notifier // nil without a webhook
	api       *api.Server
	web       *web.Server
	mux       *http.ServeMux // of both
	registry  *prometheus.Registry
	url       string
}

func newInstance(set settings, address string, log *slog.Logger, eng engine, client *s3.Client, keyring *signing.Keyring, operator auditdrain.TokenHash, notifySecrets [][]byte) (*instance, error) {
	store := eng.store
	in := &instance{settings: set, log: log, engine: eng, aws: client, url: "http://" + address, registry: prometheus.NewRegistry()}
	open := func(d auditdrain.Drain, unconditional bool) (deliver.Destination, error) {
		return client.Open(d, s3.Options{Unconditional: unconditional})
	}
	statusChanged := func(string) {}
	if set.notifyURL != "" {
		in.notifier = notify.New(notify.Config{
			URL: set.notifyURL, Secrets: notifySecrets, Delay: set.notifyDelay, Store: store, Drains: store, Log: log,
		})
		statusChanged = in.notifier.Changed
	}
	explainer := diagnose.Explainer{Namespace: auditdrain.Namespace(set.namespace), WriterARN: client.KnownWriterARN}
	anchors := anchor.New(set.anchorURL, store, webhook.New(nil))
	in.deliverer = deliver.New(eng.deliveries, eng.deliveries, open, deliver.Options{
		Grace: set.shutdownTimeout / 2, Explain: explainer.Explain, StatusChanged: statusChanged, Log: log,
		Integrity: &deliver.Integrity{Chains: eng.deliveries, Manifests: eng.deliveries, Drains: store, Signer: keyring, Anchor: anchors.Anchor},
	})
	in.recorder = series.New(in.deliverer, eng.deliveries, log)
	in.committer = ingest.NewCommitter(store, in.deliverer.Wake, log)
	in.forwarder = &activity.Forwarder{Namespace: auditdrain.Namespace(set.namespace), Store: store, Events: in.committer, Log: log}
	in.registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	for _, c := range [][]prometheus.Collector{eng.collectors, in.committer.Collectors(), in.deliverer.Collectors(), anchors.Collectors()} {
		in.registry.MustRegister(c...)
	}
	if in.notifier != nil {
		in.registry.MustRegister(in.notifier.Collectors()...)
	}
	in.registry.MustRegister(deliver.NewBacklog(store, set.perDrainMetrics))
	publicURL := cmp.Or(set.publicURL, in.url)
	in.api = api.New(api.Config{
		Namespace:         auditdrain.Namespace(set.namespace),
		OperatorToken:     operator,
		Teams:             store,
		Tokens:            store,
		Drains:            store,
		Finder:            store,
		Progress:          store,
		Skips:             store,
		Replays:           store,
		Attempts:          store,
		Series:            store,
		Chains:            store,
		Links:             store,
		Activities:        store,
		SigningKeys:       keyring,
		Events:            in.committer,
		Tester:            diagnose.Tester{AWS: client, Explainer: explainer, RefuseUnsafe: set.unsafeRoles == "refuse"},
		Deliverer:         in.deliverer,
		RefuseUnsafeRoles: set.unsafeRoles == "refuse",
		Writer:            client,
		SetupTemplateURL:  set.templateURL,
		PublicURL:         publicURL,
		PartitionOf:       s3.PartitionOf,
		Ready:             store.Check,
		Admit:             store.Admit,
		Registry:          in.registry,
		Log:               log,
		Version:           buildVersion(),
	})
	in.mux = http.NewServeMux()
	in.mux.Handle("/", in.api.Handler())
	var err error
	in.web, err = web.New(web.Config{
		API: in.api, Sessions: store, Links: store, Regions: s3.Regions(), PublicURL: publicURL, Log: log, Version: buildVersion(),
	})
	if err != nil {
		return nil, err
	}
	return in, in.web.Register(in.mux)
}

// run serves until ctx ends or a part fails, and then shuts down in this
// order: refuse events, finish deliveries under way and save cursors, leave the
// drains to other processes, record what was done, finish requests, commit the events that still wait. The store
// is the caller's.
func (in *instance) run(ctx context.Context, listener net.Listener) error {
	server := &http.Server{
		Handler:           in.mux,
		ReadHeaderTimeout: 10 * time.Second,
		ReadTimeout:       time.Minute,
		WriteTimeout:      2 * time.Minute,
		IdleTimeout:       2 * time.Minute,
		ErrorLog:          slog.NewLogLogger(in.log.Handler(), slog.LevelDebug),
	}
	storing := start(ctx, func(ctx context.Context) error { return in.engine.keep(ctx, in.deliverer) })
	serving := start(ctx, func(context.Context) error { return server.Serve(listener) })
	committing := start(ctx, in.committer.Run)
	forwarding := start(ctx, in.forwarder.Run)
	delivering := start(ctx, in.deliverer.Run)
	sharing := start(ctx, func(ctx context.Context) error { return in.engine.share(ctx, in.deliverer) })
	recording := start(ctx, in.recorder.Run)
	notifying := start(ctx, func(ctx context.Context) error { return in.engine.onDuty(ctx, in.notify) })
	trimming := start(ctx, func(ctx context.Context) error { return in.engine.onDuty(ctx, in.trim) })
	introducing := start(ctx, in.introduce)

	var err error
	select {
	case <-ctx.Done():
		in.log.Info("shutting down")
	case <-storing.done:
		err = fmt.Errorf("the store has failed; what was acknowledged is safe, start again once the cause is mended: %w", storing.err)
	case <-serving.done:
		err = fmt.Errorf("serve: %w", serving.err)
	case <-delivering.done:
		err = fmt.Errorf("deliver: %w", delivering.err)
	case <-sharing.done:
		err = fmt.Errorf("share the work: %w", sharing.err)
	case <-notifying.done:
		err = fmt.Errorf("notify: %w", notifying.err)
	}

	deadline, cancel := context.WithTimeout(context.WithoutCancel(ctx), in.shutdownTimeout*3/4)
	defer cancel()
	in.api.Refuse()
	in.web.Stop()
	introducing.stop()
	trimming.stop()
	delivering.stop()
	sharing.stop()
	recording.stop()
	notifying.stop()
	if shutdownErr := server.Shutdown(deadline); shutdownErr != nil {
		_ = server.Close() // requests that take too long are cut off
	}
	forwarding.stop()
	committing.stop()
	storing.stop()
	serving.stop()
	if err == nil {
		in.log.Info("stopped")
	}
	return err
}

// trim removes delivered events that are old enough, and sessions and portal
// links that are over, until ctx ends.
func (in *instance) trim(ctx context.Context) error {
	ticker := time.NewTicker(trimEvery(in.retain))
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
			removed, err := in.engine.store.Retain(ctx, in.retain)
			if err != nil && ctx.Err() == nil {
				in.log.Error("old events could not be removed", "err", err)
			} else if removed > 0 {
				in.log.Info("removed events that were delivered long ago", "events", removed, "retain", in.retain)
			}
			if err := in.engine.store.DeleteExpired(ctx, time.Now()); err != nil && ctx.Err() == nil {
				in.log.Error("sessions that are over could not be removed", "err", err)
			}
		}
	}
}

// notify tells the operator's webhook, if there is one, until ctx ends.
func (in *instance) notify(ctx context.Context) error {
	if in.notifier == nil {
		<-ctx.Done()
		return nil
	}
	return in.notifier.Run(ctx)
}

// introduce tells the operator whom customers' trust policies must name, which
// also shows whether AWS knows us at all.
func (in *instance) introduce(ctx context.Context) error {
	_, err := in.aws.CallerARN(ctx)
	switch {
	case err == nil:
		in.log.Info("customers' trust policies must name this role", "arn", in.aws.KnownWriterARN())
	case ctx.Err() == nil:
		in.log.Warn("AWS does not know us; nothing can be delivered until it does", "err", err)
	}
	return nil
}

// part is something that runs until it is stopped.
type part struct {
	cancel context.CancelFunc
	done   chan struct{} // closed when err is set
	err    error
}

// start runs f in the background. Its context does not end with ctx: parts
// are stopped one by one.
func start(ctx context.Context, f func(context.Context) error) *part {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	p := &part{cancel: cancel, done: make(chan struct{})}
	go func() {
		defer close(p.done)
		p.err = f(ctx)
	}()
	return p
}

// stop ends the part and waits for it.
func (p *part) stop() {
	p.cancel()
	<-p.done
}

var operatorTokenRE = regexp.MustCompile(`^[!-~]*[A-Za-z0-9]{24}[!-~]*$`)

// tokenFromEnvironment returns the operator token that was given, or "".
func tokenFromEnvironment() (string, error) {
	value := os.Getenv("AUDITDRAIN_OPERATOR_TOKEN")
	if value != "" && !operatorTokenRE.MatchString(value) {
		return "", usagef("AUDITDRAIN_OPERATOR_TOKEN is not allowed: use at least 24 letters and digits in a row, such as ad_ and 32 random ones")
	}
	return value, nil
}

// notifySecretsFromEnvironment returns what calls of the operator's webhook are
// signed with.
func notifySecretsFromEnvironment(url string) ([][]byte, error) {
	value := os.Getenv("AUDITDRAIN_NOTIFY_SECRET")
	switch {
	case url != "":
		secrets, err := notify.ParseSecrets(value)
		if err != nil {
			return nil, usagef("AUDITDRAIN_NOTIFY_SECRET: %w", err)
		}
		return secrets, nil
	case value != "":
		return nil, usagef("AUDITDRAIN_NOTIFY_SECRET is of no use without --notify-url")
	}
	return nil, nil
}

// operatorToken returns the hash of the token that may do everything: the one
// that was given, or that of the data folder, where the first start puts one.
func operatorToken(given, data string, log *slog.Logger) (auditdrain.TokenHash, error) {
	if given != "" {
		return auditdrain.HashToken(given), nil
	}
	path := filepath.Join(data, "operator-token")
	content, err := os.ReadFile(path)
	switch {
	case err == nil:
		value := strings.TrimSpace(string(content))
		if !operatorTokenRE.MatchString(value) {
			return auditdrain.TokenHash{}, fmt.Errorf("%s does not hold a token; remove it, and the next start writes a new one", path)
		}
		return auditdrain.HashToken(value), nil
	case !errors.Is(err, os.ErrNotExist):
		return auditdrain.TokenHash{}, fmt.Errorf("read operator token: %w", err)
	}
	value := auditdrain.NewTokenValue()
	if err := writeNewFile(path, value+"\n"); err != nil {
		return auditdrain.TokenHash{}, fmt.Errorf("write operator token: %w", err)
	}
	log.Info("wrote a new operator token", "file", path)
	return auditdrain.HashToken(value), nil
}

// writeNewFile creates a file that only its owner can read. A crash leaves
// all of it or nothing.
func writeNewFile(path, content string) error {
	tmp := path + ".tmp"
	if err := os.Remove(tmp); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	f, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.WriteString(content)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(tmp, path)
}

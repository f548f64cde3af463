package deploy

import (
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	psa "k8s.io/pod-security-admission/api"
	"k8s.io/pod-security-admission/policy"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
)

const manifests = "../../deploy/kubernetes"

// cluster is what one kustomization makes: of most kinds one object, or none.
type cluster struct {
	pods     corev1.PodTemplateSpec
	selector *metav1.LabelSelector // of the workload
	replicas int32

	deployment  *appsv1.Deployment
	statefulSet *appsv1.StatefulSet
	namespace   *corev1.Namespace
	service     *corev1.Service
	account     *corev1.ServiceAccount
	config      *corev1.ConfigMap
	budget      *policyv1.PodDisruptionBudget
	ingress     *networkingv1.Ingress
	network     *networkingv1.NetworkPolicy
	monitor     *monitoringv1.ServiceMonitor
}

func (c cluster) container() corev1.Container { return c.pods.Spec.Containers[0] }

// clusters are both variants, each with all that is optional, and the example as
// it is.
func clusters(t *testing.T) map[string]cluster {
	t.Helper()
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(manifests)); err != nil {
		t.Fatal(err)
	}
	built := map[string]cluster{"example": build(t, filepath.Join(dir, "example"))}
	for _, variant := range []string{"single", "postgres"} {
		all := filepath.Join(dir, "all-of-"+variant)
		if err := os.Mkdir(all, 0o700); err != nil {
			t.Fatal(err)
		}
		content := "resources: [../" + variant + "]\ncomponents: [../ingress, ../networkpolicy, ../servicemonitor]\n"
		if err := os.WriteFile(filepath.Join(all, "kustomization.yaml"), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		built[variant] = build(t, all)
	}
	return built
}

// build is kubectl kustomize, and reads what comes of it as a cluster does with
// --validate=strict: a field that is not known is an error.
func build(t *testing.T, dir string) cluster {
	t.Helper()
	made, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), dir)
	if err != nil {
		t.Fatalf("%s: %v", dir, err)
	}
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{
		appsv1.AddToScheme, corev1.AddToScheme, networkingv1.AddToScheme, policyv1.AddToScheme, monitoringv1.AddToScheme,
	} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	decoder := serializer.NewCodecFactory(scheme, serializer.EnableStrict).UniversalDeserializer()
	var c cluster
	for _, r := range made.Resources() {
		content, err := r.AsYAML()
		if err != nil {
			t.Fatal(err)
		}
		object, _, err := decoder.Decode(content, nil, nil)
		if err != nil {
			t.Fatalf("%s: %v", r.CurId(), err)
		}
		if !c.take(object) {
			t.Fatalf("%s: there are two %T, or the tests do not know it", dir, object)
		}
	}
	if c.service == nil || c.account == nil || c.config == nil || len(c.pods.Spec.Containers) != 1 {
		t.Fatalf("%s makes no service, account, configuration and workload of one container", dir)
	}
	return c
}

// take reports whether c had no such object.
func (c *cluster) take(object runtime.Object) bool {
	switch o := object.(type) {
	case *appsv1.Deployment:
		c.pods, c.selector, c.replicas = o.Spec.Template, o.Spec.Selector, *o.Spec.Replicas
		return only(&c.deployment, o)
	case *appsv1.StatefulSet:
		c.pods, c.selector, c.replicas = o.Spec.Template, o.Spec.Selector, *o.Spec.Replicas
		return only(&c.statefulSet, o)
	case *corev1.Namespace:
		return only(&c.namespace, o)
	case *corev1.Service:
		return only(&c.service, o)
	case *corev1.ServiceAccount:
		return only(&c.account, o)
	case *corev1.ConfigMap:
		return only(&c.config, o)
	case *policyv1.PodDisruptionBudget:
		return only(&c.budget, o)
	case *networkingv1.Ingress:
		return only(&c.ingress, o)
	case *networkingv1.NetworkPolicy:
		return only(&c.network, o)
	case *monitoringv1.ServiceMonitor:
		return only(&c.monitor, o)
	}
	return false
}

func only[T any](place **T, object *T) bool {
	if *place != nil {
		return false
	}
	*place = object
	return true
}

func selects(t *testing.T, selector *metav1.LabelSelector, set map[string]string) bool {
	t.Helper()
	s, err := metav1.LabelSelectorAsSelector(selector)
	if err != nil {
		t.Fatal(err)
	}
	return !s.Empty() && s.Matches(labels.Set(set))
}

// Whatever refers to something else finds it.
func TestReferences(t *testing.T) {
	secret := secretKeys(t)
	for name, c := range clusters(t) {
		t.Run(name, func(t *testing.T) {
			container := c.container()
			ports := map[string]bool{}
			for _, p := range container.Ports {
				ports[p.Name] = true
				if _, port, ok := strings.Cut(c.config.Data["AUDITDRAIN_LISTEN"], ":"); !ok || port != "8080" || p.ContainerPort != 8080 {
					t.Errorf("the container's port is %d, and it listens on %q", p.ContainerPort, c.config.Data["AUDITDRAIN_LISTEN"])
				}
			}
			for what, selector := range map[string]*metav1.LabelSelector{
				"the workload": c.selector, "the service": {MatchLabels: c.service.Spec.Selector},
			} {
				if !selects(t, selector, c.pods.Labels) {
					t.Errorf("%s does not select the pods", what)
				}
			}
			for _, s := range c.pods.Spec.TopologySpreadConstraints {
				if !selects(t, s.LabelSelector, c.pods.Labels) {
					t.Errorf("the spread over %s does not count the pods", s.TopologyKey)
				}
			}
			servicePorts := map[string]bool{}
			for _, p := range c.service.Spec.Ports {
				servicePorts[p.Name] = true
				if !ports[p.TargetPort.String()] {
					t.Errorf("the service's target %s is no port of the container", p.TargetPort.String())
				}
			}
			if c.pods.Spec.ServiceAccountName != c.account.Name {
				t.Errorf("the pods are %s, and the account is %s", c.pods.Spec.ServiceAccountName, c.account.Name)
			}
			for _, from := range container.EnvFrom {
				if from.ConfigMapRef.Name != c.config.Name {
					t.Errorf("configuration %s is not there", from.ConfigMapRef.Name)
				}
			}
			for _, e := range container.Env {
				if e.ValueFrom == nil {
					continue
				}
				if ref := e.ValueFrom.SecretKeyRef; ref == nil || ref.Name != "auditdrain" || !slices.Contains(secret, ref.Key) {
					t.Errorf("%s is not of the secret that the example makes: %v", e.Name, e.ValueFrom)
				}
			}
			var claims []string
			for _, v := range c.pods.Spec.Volumes {
				claims = append(claims, v.Name)
				for _, item := range v.Secret.Items {
					if v.Secret.SecretName != "auditdrain" || !slices.Contains(secret, item.Key) {
						t.Errorf("volume %s is not of the secret that the example makes: %v", v.Name, v.Secret)
					}
				}
			}
			if s := c.statefulSet; s != nil {
				if s.Spec.ServiceName != c.service.Name {
					t.Errorf("service %s of the stateful set is not there", s.Spec.ServiceName)
				}
				for _, claim := range s.Spec.VolumeClaimTemplates {
					claims = append(claims, claim.Name)
				}
			}
			var mounts []string
			for _, m := range container.VolumeMounts {
				mounts = append(mounts, m.Name)
			}
			if !slices.Equal(claims, mounts) {
				t.Errorf("claims and volumes are %v, mounts %v", claims, mounts)
			}
			if c.ingress != nil {
				for _, p := range c.ingress.Spec.Rules[0].HTTP.Paths {
					if b := p.Backend.Service; b.Name != c.service.Name || !servicePorts[b.Port.Name] {
						t.Errorf("%s leads to %s:%s, which is not there", p.Path, b.Name, b.Port.Name)
					}
				}
			}
			if c.network != nil {
				if port := c.network.Spec.Ingress[0].Ports[0].Port.String(); !selects(t, &c.network.Spec.PodSelector, c.pods.Labels) || !ports[port] {
					t.Errorf("the network policy is not for port %s of the pods", port)
				}
			}
			if m := c.monitor; m != nil {
				if !selects(t, &m.Spec.Selector, c.service.Labels) || !servicePorts[m.Spec.Endpoints[0].Port] {
					t.Errorf("the monitor does not find the service")
				}
				// What the alert rules ask for.
				if job := c.service.Labels[m.Spec.JobLabel]; job != "auditdrain" {
					t.Errorf("the job is %q", job)
				}
			}
		})
	}
}

// secretKeys are the keys of the secret that the example says how to make.
func secretKeys(t *testing.T) []string {
	t.Helper()
	var keys []string
	for _, m := range regexp.MustCompile(`--from-literal=([a-z-]+)=`).FindAllStringSubmatch(read(t, manifests+"/example/kustomization.yaml"), -1) {
		keys = append(keys, m[1])
	}
	return keys
}

func TestPods(t *testing.T) {
	evaluator, err := policy.NewEvaluator(policy.DefaultChecks(), nil)
	if err != nil {
		t.Fatal(err)
	}
	restricted := psa.LevelVersion{Level: psa.LevelRestricted, Version: psa.LatestVersion()}
	shutdown := program(t).duration(t, "shutdown-timeout")
	for name, c := range clusters(t) {
		t.Run(name, func(t *testing.T) {
			if got := policy.AggregateCheckResults(evaluator.EvaluatePod(restricted, &c.pods.ObjectMeta, &c.pods.Spec)); !got.Allowed {
				t.Errorf("pod security %s: %s", restricted, got.ForbiddenDetail())
			}
			spec, container := c.pods.Spec, c.container()
			if !*container.SecurityContext.ReadOnlyRootFilesystem || *spec.AutomountServiceAccountToken || *c.account.AutomountServiceAccountToken || *spec.EnableServiceLinks {
				t.Errorf("the root file system can be written, or the pod is given what it does not need")
			}
			if c.account.Annotations["eks.amazonaws.com/role-arn"] == "" {
				t.Error("the account names no role")
			}

			for probe, want := range map[*corev1.Probe]string{
				container.StartupProbe: "/healthz", container.LivenessProbe: "/healthz", container.ReadinessProbe: "/readyz",
			} {
				if probe.HTTPGet.Path != want || probe.HTTPGet.Port.String() != container.Ports[0].Name {
					t.Errorf("a probe asks %s on %s, want %s", probe.HTTPGet.Path, probe.HTTPGet.Port.String(), want)
				}
			}

			grace := time.Duration(*spec.TerminationGracePeriodSeconds) * time.Second
			if l := container.Lifecycle; l != nil {
				grace -= time.Duration(l.PreStop.Sleep.Seconds) * time.Second
			}
			if grace < shutdown+5*time.Second {
				t.Errorf("a shutdown may take %s, and is killed after %s", shutdown, grace)
			}

			i := slices.IndexFunc(container.Env, func(e corev1.EnvVar) bool { return e.Name == "GOMEMLIMIT" })
			limit, err := resource.ParseQuantity(strings.TrimSuffix(container.Env[i].Value, "B"))
			if err != nil {
				t.Fatal(err)
			}
			if share := limit.AsApproximateFloat64() / container.Resources.Limits.Memory().AsApproximateFloat64(); share < 0.8 || share > 0.9 {
				t.Errorf("GOMEMLIMIT is %.2f of the memory limit", share)
			}
		})
	}
}

// One process per folder, and many that can be lost, but not all at once.
func TestReplicas(t *testing.T) {
	all := clusters(t)
	single, many := all["single"], all["postgres"]
	if single.statefulSet == nil || single.replicas != 1 || single.budget != nil || !single.service.Spec.PublishNotReadyAddresses {
		t.Errorf("single is not one pod that is always reached and can always be evicted")
	}
	if modes := single.statefulSet.Spec.VolumeClaimTemplates[0].Spec.AccessModes; !slices.Equal(modes, []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOncePod}) {
		t.Errorf("the volume can be had %v", modes)
	}
	if data, mount := environment(single)["AUDITDRAIN_DATA"], single.container().VolumeMounts[0].MountPath; data != mount {
		t.Errorf("data is in %s, and the volume in %s", data, mount)
	}
	if many.deployment == nil || many.replicas != 3 || many.service.Spec.PublishNotReadyAddresses {
		t.Errorf("postgres is not three pods that are reached when they are ready")
	}
	if file, mount := environment(many)["AUDITDRAIN_KEY_FILE"], many.container().VolumeMounts[0]; file != mount.MountPath+"/"+many.pods.Spec.Volumes[0].Secret.Items[0].Path {
		t.Errorf("the key file is %s, and the secret in %s", file, mount.MountPath)
	}
	if !selects(t, many.budget.Spec.Selector, many.pods.Labels) || many.budget.Spec.MaxUnavailable.IntValue() != 1 {
		t.Errorf("the budget does not keep all but one of the pods")
	}
	var over []string
	for _, s := range many.pods.Spec.TopologySpreadConstraints {
		over = append(over, s.TopologyKey)
	}
	if !slices.Equal(over, []string{"topology.kubernetes.io/zone", "kubernetes.io/hostname"}) {
		t.Errorf("pods are spread over %v", over)
	}
}

// environment is what the container is given, but for secrets.
func environment(c cluster) map[string]string {
	env := map[string]string{}
	for name, value := range c.config.Data {
		env[name] = value
	}
	for _, e := range c.container().Env {
		env[e.Name] = e.Value
	}
	return env
}

// The Ingress names paths: all pages and the API, and nothing that needs no token.
func TestIngress(t *testing.T) {
	c := clusters(t)["example"]
	public, err := url.Parse(c.config.Data["AUDITDRAIN_PUBLIC_URL"])
	if err != nil {
		t.Fatal(err)
	}
	rule, tls := c.ingress.Spec.Rules[0], c.ingress.Spec.TLS[0]
	if public.Scheme != "https" || rule.Host != public.Host || !slices.Equal(tls.Hosts, []string{public.Host}) {
		t.Errorf("people use %s, the rule is for %s, the certificate for %v", public, rule.Host, tls.Hosts)
	}
	if enforced := c.namespace.Labels["pod-security.kubernetes.io/enforce"]; enforced != string(psa.LevelRestricted) || c.service.Namespace != c.namespace.Name {
		t.Errorf("namespace %q enforces %q", c.namespace.Name, enforced)
	}
	passes := func(path string) bool {
		return slices.ContainsFunc(rule.HTTP.Paths, func(p networkingv1.HTTPIngressPath) bool {
			return path == p.Path || *p.PathType == networkingv1.PathTypePrefix && strings.HasPrefix(path, strings.TrimSuffix(p.Path, "/")+"/")
		})
	}
	for _, path := range []string{"/metrics", "/healthz", "/readyz", "/openapi.json"} {
		if passes(path) {
			t.Errorf("%s can be had from outside", path)
		}
	}
	pages := pagePaths(t)
	for _, path := range append(pages, "/v1/events", "/.well-known/jwks.json") {
		if !passes(path) {
			t.Errorf("%s cannot be had from outside", path)
		}
	}
}

// pagePaths are the paths that internal/web registers.
func pagePaths(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob("../../internal/web/*.go")
	if err != nil {
		t.Fatal(err)
	}
	var paths []string
	for _, file := range files {
		for _, m := range regexp.MustCompile(`"(?:GET|POST) (/[^"]*)"`).FindAllStringSubmatch(read(t, file), -1) {
			paths = append(paths, strings.TrimSuffix(m[1], "{$}"))
		}
	}
	if len(paths) < 20 {
		t.Fatalf("internal/web has the paths %v only", paths)
	}
	return paths
}

package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"sigs.k8s.io/yaml"

	"github.com/ron-transport/ron-transport/tls/certs"
)

const manifestDir = "kubernetes"

// object is one Kubernetes object.
type object map[string]any

// at is what a path of names and indices leads to, nil for nothing.
func (o object) at(path ...any) any {
	var v any = map[string]any(o)
	for _, p := range path {
		switch p := p.(type) {
		case string:
			m, _ := v.(map[string]any)
			v = m[p]
		case int:
			l, _ := v.([]any)
			if p >= len(l) {
				return nil
			}
			v = l[p]
		}
	}
	return v
}

// named are the entries of a list by their name.
func named(list any) map[string]object {
	all := map[string]object{}
	l, _ := list.([]any)
	for _, e := range l {
		m, _ := e.(map[string]any)
		name, _ := m["name"].(string)
		all[name] = m
	}
	return all
}

// objects reads a file of manifests; a key that is there twice is an error.
func objects(b []byte) (all []object, err error) {
	for _, doc := range bytes.Split(b, []byte("\n---\n")) {
		var o object
		if err := yaml.UnmarshalStrict(doc, &o); err != nil {
			return nil, err
		}
		all = append(all, o)
	}
	return all, nil
}

// manifests are all objects, by "Kind name".
func manifests(t *testing.T) map[string]object {
	t.Helper()
	all := map[string]object{}
	for _, name := range append(resources(t), "secret.example.yaml") {
		b, err := os.ReadFile(filepath.Join(manifestDir, name))
		if err != nil {
			t.Fatal(err)
		}
		list, err := objects(b)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		for _, o := range list {
			all[fmt.Sprint(o.at("kind"), " ", o.at("metadata", "name"))] = o
		}
	}
	return all
}

// resources are the files that the kustomization names.
func resources(t *testing.T) (names []string) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(manifestDir, "kustomization.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var k struct{ Resources []string }
	if err := yaml.Unmarshal(b, &k); err != nil {
		t.Fatal(err)
	}
	return k.Resources
}

// schema judges objects as the API server of Kubernetes does that refuses unknown fields.
type schema struct {
	compiler *jsonschema.Compiler
	kinds    map[string]any
}

func newSchema(t *testing.T) *schema {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(manifestDir, "testdata", "kubernetes.json"))
	if err != nil {
		t.Fatal(err)
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	s := &schema{compiler: jsonschema.NewCompiler(), kinds: doc.(map[string]any)["kinds"].(map[string]any)}
	if err := s.compiler.AddResource("kubernetes.json", doc); err != nil {
		t.Fatal(err)
	}
	return s
}

func (s *schema) judge(o object) error {
	kind := fmt.Sprint(o.at("apiVersion"), " ", o.at("kind"))
	def, ok := s.kinds[kind].(string)
	if !ok {
		return fmt.Errorf("there is no kind %s", kind)
	}
	sch, err := s.compiler.Compile("kubernetes.json#/$defs/" + def)
	if err != nil {
		return err
	}
	b, err := json.Marshal(o)
	if err != nil {
		return err
	}
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(b))
	if err != nil {
		return err
	}
	return sch.Validate(v)
}

// TestManifestsAreValid holds every manifest against the schema of Kubernetes.
func TestManifestsAreValid(t *testing.T) {
	s, all := newSchema(t), manifests(t)
	for name, o := range all {
		if err := s.judge(o); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, want := range []string{"Deployment gateway", "Service gateway-tls", "Service gateway-quic", "PodDisruptionBudget gateway", "Secret gateway-keys",
		"ConfigMap gateway", "HorizontalPodAutoscaler gateway", "NetworkPolicy gateway"} {
		if all[want] == nil {
			t.Errorf("there is no %s", want)
		}
	}
	files, err := filepath.Glob(manifestDir + "/*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files { // none is forgotten
		f = filepath.Base(f)
		if !slices.Contains([]string{"kustomization.yaml", "secret.example.yaml", "prometheus-adapter.yaml"}, f) && !slices.Contains(resources(t), f) {
			t.Errorf("the kustomization does not name %s", f)
		}
	}
}

// TestSchemaRefuses: the schema can find something.
func TestSchemaRefuses(t *testing.T) {
	b, err := os.ReadFile(filepath.Join(manifestDir, "deployment.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	s := newSchema(t)
	for _, c := range []struct{ name, old, new string }{
		{"unknown field", "minReadySeconds: 5", "minReadySecond: 5"},
		{"unknown field deep down", "readOnlyRootFilesystem: true", "readonlyRootFilesystem: true"},
		{"wrong type", "minReadySeconds: 5", "minReadySeconds: five"},
		{"missing", "  selector:\n    matchLabels:\n      app: gateway\n  minReady", "  minReady"},
		{"quantity", "memory: 256Mi", "memory: 256 MB"},
		{"kind", "kind: Deployment", "kind: Deploiment"},
		{"version", "apiVersion: apps/v1", "apiVersion: apps/v1beta1"},
	} {
		list, err := objects([]byte(strings.Replace(string(b), c.old, c.new, 1)))
		if err != nil || !strings.Contains(string(b), c.old) {
			t.Fatalf("%s: %v", c.name, err)
		}
		if s.judge(list[0]) == nil {
			t.Errorf("%s: it is accepted", c.name)
		}
	}
}

// podFiles makes what a pod has mounted, below dir in the place of /etc/gateway, and returns the configuration file. Keys come from keys.sh.
func podFiles(t *testing.T, dir string) string {
	t.Helper()
	toml, _ := manifests(t)["ConfigMap gateway"].at("data", "gateway.toml").(string)
	if out, err := exec.Command("sh", filepath.Join(manifestDir, "keys.sh"), "new", filepath.Join(dir, "keys")).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	cert, key := newAuthority(t).issue(t, 1)
	if err := os.MkdirAll(filepath.Join(dir, "tls"), 0o700); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "tls", "tls.crt"), string(cert))
	write(t, filepath.Join(dir, "tls", "tls.key"), string(key))
	path := filepath.Join(dir, "gateway.toml")
	write(t, path, strings.ReplaceAll(toml, "/etc/gateway/", dir+"/"))
	return path
}

// podConfig is the configuration of a pod, as --print-config accepts it.
func podConfig(t *testing.T, dir string) *Config {
	t.Helper()
	path := podFiles(t, dir)
	var out bytes.Buffer
	cmd := command(nil, &out, &out)
	cmd.SetArgs([]string{"--config", path, "--print-config"})
	if err := cmd.Execute(); err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	e, err := (&sources{file: path, flags: cmd.Flags()}).load()
	if err != nil {
		t.Fatal(err)
	}
	return e.Config
}

// TestManifestsFitTheGateway: ports, times, paths and names are those of the configuration that the pods get.
func TestManifestsFitTheGateway(t *testing.T) {
	dir := t.TempDir()
	c, all := podConfig(t, dir), manifests(t)
	pod := object(all["Deployment gateway"].at("spec", "template", "spec").(map[string]any))
	container := object(pod.at("containers", 0).(map[string]any))
	for name, addr := range map[string]string{"tls": c.TLS.Listen, "quic": c.QUIC.Listen, "admin": c.Admin} {
		if want := fmt.Sprintf("0.0.0.0:%v", named(container.at("ports"))[name].at("containerPort")); addr != want {
			t.Errorf("%s listens on %s, the container's port says %s", name, addr, want)
		}
	}
	grace := time.Duration(pod.at("terminationGracePeriodSeconds").(float64)) * time.Second
	sleep, _ := container.at("lifecycle", "preStop", "sleep", "seconds").(float64)
	serving := time.Duration(sleep) * time.Second // while load balancers' checks of the machine find out that the pod is leaving
	if serving < 20*time.Second {
		t.Errorf("a pod that is leaving stays ready for %v, load balancers need longer to take its machine out", serving)
	}
	if least := serving + c.DrainDelay + c.DrainTimeout; grace < least+5*time.Second {
		t.Errorf("a pod is killed after %v, its end takes up to %v, and a process its time to end", grace, least)
	}
	probe := func(name, path string) (noticed time.Duration) {
		p := object(container.at(name).(map[string]any))
		if p.at("httpGet", "path") != path || p.at("httpGet", "port") != "admin" {
			t.Errorf("%s asks %v", name, p.at("httpGet"))
		}
		return time.Duration(p.at("periodSeconds").(float64)*p.at("failureThreshold").(float64)) * time.Second
	}
	probe("startupProbe", "/healthz") // a node that is not ready must not be killed for it, at its start as little as later
	probe("livenessProbe", "/healthz")
	if noticed := probe("readinessProbe", "/readyz"); noticed >= c.DrainDelay {
		t.Errorf("that a node is not ready is noticed after %v, and it stops accepting after %v", noticed, c.DrainDelay)
	}
	affinity := all["Service gateway-quic"].at("spec", "sessionAffinityConfig", "clientIP", "timeoutSeconds").(float64)
	if time.Duration(affinity)*time.Second <= c.QUIC.Lib.IdleTimeout {
		t.Errorf("affinity ends after %v s, a connection after %v", affinity, c.QUIC.Lib.IdleTimeout)
	}
	memory := container.at("resources", "limits", "memory")
	if memory != "512Mi" || c.Reactor.BufferBudget > 256<<20 {
		t.Errorf("buffers may have %d of %v", c.Reactor.BufferBudget, memory)
	}
	var mounts, secrets []string
	for _, m := range named(container.at("volumeMounts")) {
		mounts = append(mounts, m.at("mountPath").(string))
	}
	for name := range all["Secret gateway-keys"].at("stringData").(map[string]any) {
		secrets = append(secrets, "/etc/gateway/keys/"+name)
	}
	for _, f := range []string{c.TLS.Store.Tickets.File, c.QUIC.ResetKey, c.QUIC.TokenKey} {
		if f = strings.Replace(f, dir, "/etc/gateway", 1); !slices.Contains(secrets, f) || !slices.Contains(mounts, filepath.Dir(f)) {
			t.Errorf("no Secret brings %s", f)
		}
	}
	if !slices.Contains(mounts, strings.Replace(filepath.Dir(c.TLS.Pair.KeyFile), dir, "/etc/gateway", 1)) || c.TLS.Store.Tickets.Owner {
		t.Errorf("certificate %v, mounts %v", c.TLS.Pair, mounts)
	}
	for _, name := range []string{"tls", "keys"} {
		if mode := named(pod.at("volumes"))[name].at("secret", "defaultMode"); mode != float64(0o440) {
			t.Errorf("the files of %s have mode %v", name, mode)
		}
	}
}

// TestManifestsFitEachOther: selectors, names of ports and of the metric.
func TestManifestsFitEachOther(t *testing.T) {
	all := manifests(t)
	d := all["Deployment gateway"]
	labels := d.at("spec", "template", "metadata", "labels").(map[string]any)
	ports := named(d.at("spec", "template", "spec", "containers", 0, "ports"))
	for name, path := range map[string][]any{
		"Deployment gateway": {"spec", "selector", "matchLabels"}, "PodDisruptionBudget gateway": {"spec", "selector", "matchLabels"},
		"NetworkPolicy gateway": {"spec", "podSelector", "matchLabels"}, "Service gateway-tls": {"spec", "selector"}, "Service gateway-quic": {"spec", "selector"},
	} {
		if got, _ := all[name].at(path...).(map[string]any); !maps.Equal(got, labels) {
			t.Errorf("%s selects %v, the pods have %v", name, got, labels)
		}
	}
	for _, name := range []string{"tls", "quic"} {
		p := all["Service gateway-"+name].at("spec", "ports", 0)
		o, _ := p.(map[string]any)
		to, _ := object(o).at("targetPort").(string)
		if ports[to] == nil || ports[to].at("protocol") != object(o).at("protocol") || object(o).at("port") != float64(443) {
			t.Errorf("the Service for %s leads to %v, ports are %v", name, o, ports)
		}
	}
	if d.at("spec", "strategy", "rollingUpdate", "maxUnavailable") != float64(0) || d.at("spec", "strategy", "rollingUpdate", "maxSurge") != float64(1) {
		t.Errorf("%v", d.at("spec", "strategy"))
	}
	hpa := all["HorizontalPodAutoscaler gateway"]
	if hpa.at("spec", "scaleTargetRef", "name") != d.at("metadata", "name") || hpa.at("spec", "minReplicas") != float64(3) {
		t.Errorf("%v", hpa)
	}
	if n := d.at("spec", "replicas"); n != nil { // each kubectl apply would put it in force again
		t.Errorf("the Deployment says %v replicas, which is for the autoscaler to say", n)
	}
	metric := hpa.at("spec", "metrics", 0, "pods", "metric", "name").(string)
	for _, f := range []string{"../../docs/metrics.md", manifestDir + "/prometheus-adapter.yaml"} {
		if b, err := os.ReadFile(f); err != nil || !strings.Contains(string(b), metric) {
			t.Errorf("%s does not know %s (%v)", f, metric, err)
		}
	}
}

// TestKustomize: kubectl puts the manifests together, and what comes out is valid too.
func TestKustomize(t *testing.T) {
	kubectl, err := exec.LookPath("kubectl")
	if err != nil {
		t.Skip(err)
	}
	out, err := exec.Command(kubectl, "kustomize", manifestDir).Output()
	if err != nil {
		t.Fatal(err)
	}
	list, err := objects(out)
	if err != nil {
		t.Fatal(err)
	}
	if len(list) != len(manifests(t))-1 { // without the example
		t.Errorf("%d objects", len(list))
	}
	s := newSchema(t)
	for _, o := range list {
		if err := s.judge(o); err != nil {
			t.Error(err)
		}
	}
}

// TestShellcheck looks at keys.sh.
func TestShellcheck(t *testing.T) {
	shellcheck, err := exec.LookPath("shellcheck")
	if err != nil {
		t.Skip(err)
	}
	if out, err := exec.Command(shellcheck, filepath.Join(manifestDir, "keys.sh")).CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// TestKeysRotate: what keys.sh makes is what the library reads; between the two halves of a rotation the old key still encrypts.
func TestKeysRotate(t *testing.T) {
	dir := t.TempDir()
	do := func(verb string, ok bool) []certs.TicketKey {
		t.Helper()
		out, err := exec.Command("sh", filepath.Join(manifestDir, "keys.sh"), verb, dir).CombinedOutput()
		if (err == nil) != ok {
			t.Fatalf("%s: %v\n%s", verb, err, out)
		}
		keys, err := certs.ReadTicketFile(filepath.Join(dir, "tickets"))
		if err != nil {
			t.Fatal(err)
		}
		return keys
	}
	secret := func(k certs.TicketKey) string { // of the file: the key shows itself to nobody
		b, err := certs.FormatTicketFile([]certs.TicketKey{k})
		if err != nil {
			t.Fatal(err)
		}
		return string(b[len(b)-65:])
	}
	keys := do("new", true)
	do("new", false)
	do("promote", false)
	rotate := func() {
		t.Helper()
		staged := do("stage", true)
		do("stage", false)
		if len(staged) != min(len(keys)+1, 16) || secret(staged[0]) != secret(keys[0]) || secret(staged[1]) == secret(keys[0]) {
			t.Fatalf("%v, then %v", keys, staged)
		}
		time.Sleep(time.Until(keys[0].Made().Add(1100 * time.Millisecond))) // times are whole seconds
		promoted := do("promote", true)
		if len(promoted) != len(staged) || secret(promoted[0]) != secret(staged[1]) || secret(promoted[1]) != secret(staged[0]) {
			t.Fatalf("%v, then %v", staged, promoted)
		}
		keys = promoted
	}
	rotate()
	for i := len(keys); i < 16; i++ {
		keys = append(keys, certs.NewTicketKey(time.Now().Add(-time.Duration(i)*time.Hour)))
	}
	if err := certs.WriteTicketFile(filepath.Join(dir, "tickets"), keys); err != nil {
		t.Fatal(err)
	}
	rotate() // the oldest goes
	for _, name := range []string{"reset", "token"} {
		if k, err := readKey(filepath.Join(dir, name)); err != nil || k == nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestExampleSecretIsRefused: nobody runs with the placeholders of the example.
func TestExampleSecretIsRefused(t *testing.T) {
	example, _ := manifests(t)["Secret gateway-keys"].at("stringData").(map[string]any)
	if len(example) != 3 {
		t.Fatal(example)
	}
	for name, v := range example {
		path := filepath.Join(t.TempDir(), name)
		write(t, path, v.(string))
		if _, err := certs.ReadTicketFile(path); err == nil {
			t.Errorf("%s: ticket keys of %q", name, v)
		}
		if _, err := readKey(path); err == nil {
			t.Errorf("%s: a key of %q", name, v)
		}
	}
}

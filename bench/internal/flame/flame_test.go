package flame

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/google/pprof/profile"
)

// sample makes a profile: each line is a stack from the root, parted by semicolons, and its value is the number behind it.
func sample(t *testing.T, stacks map[string]int64) *bytes.Buffer {
	t.Helper()
	p := &profile.Profile{SampleType: []*profile.ValueType{{Type: "samples", Unit: "count"}, {Type: "cpu", Unit: "nanoseconds"}}}
	byName := map[string]*profile.Location{}
	for stack, v := range stacks {
		s := &profile.Sample{Value: []int64{1, v}}
		for name := range strings.SplitSeq(stack, ";") {
			l := byName[name]
			if l == nil {
				fn := &profile.Function{ID: uint64(len(byName) + 1), Name: name}
				l = &profile.Location{ID: fn.ID, Line: []profile.Line{{Function: fn}}}
				byName[name] = l
				p.Function, p.Location = append(p.Function, fn), append(p.Location, l)
			}
			s.Location = append([]*profile.Location{l}, s.Location...)
		}
		p.Sample = append(p.Sample, s)
	}
	var b bytes.Buffer
	if err := p.Write(&b); err != nil {
		t.Fatal(err)
	}
	return &b
}

// TestDraw: well-formed XML in which each function is as wide as its share, callees above their callers, and names are escaped.
func TestDraw(t *testing.T) {
	in := sample(t, map[string]int64{"main.main;a<b>.work": 750e6, "main.main;runtime.gc": 249.9e6, "main.main;dust": 0.1e6})
	var out bytes.Buffer
	if err := Draw(&out, in, "x & y"); err != nil {
		t.Fatal(err)
	}
	for d := xml.NewDecoder(bytes.NewReader(out.Bytes())); ; {
		if _, err := d.Token(); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatalf("%v in\n%s", err, out.String())
		}
	}
	s := out.String()
	for _, want := range []string{
		"x &amp; y: 1.00 s of cpu",
		`<title>main.main: 1.00 s, 100.00 %</title><rect x="0.00" y="51" width="1200.00"`,
		`<title>a&lt;b&gt;.work: 0.75 s, 75.00 %</title><rect x="0.00" y="34" width="900.00"`,
		`<title>runtime.gc: 0.25 s, 24.99 %</title><rect x="900.12" y="34" width="299.88"`,
		">runtime.gc</text>",
	} {
		if !strings.Contains(s, want) {
			t.Errorf("%q is missing in\n%s", want, s)
		}
	}
	if strings.Contains(s, "dust") {
		t.Error("what is too small to be seen is drawn")
	}
}

// TestDrawRefuses: what is no profile, and one without samples.
func TestDrawRefuses(t *testing.T) {
	for name, in := range map[string]io.Reader{"no profile": strings.NewReader("hello"), "no samples": sample(t, nil)} {
		if err := Draw(io.Discard, in, "x"); err == nil {
			t.Errorf("%s: drawn", name)
		}
	}
	if err := Draw(failing{}, sample(t, map[string]int64{"a": 1}), "x"); !errors.Is(err, io.ErrShortWrite) {
		t.Error(err)
	}
}

type failing struct{}

func (failing) Write([]byte) (int, error) { return 0, io.ErrShortWrite }

// TestLabel: names are cut to what there is room for.
func TestLabel(t *testing.T) {
	for _, v := range []struct {
		name string
		room int
		want string
	}{{"a/b/c.D", 9, "c.D"}, {"a/b/c.Long", 4, "c.L…"}, {"abc", 2, "ab"}, {"abc", 0, ""}, {"abc", -1, ""}} {
		if got := label(v.name, v.room); got != v.want {
			t.Errorf("%s in %d: %q, want %q", v.name, v.room, got, v.want)
		}
	}
}

// TestColour: whose code a function is shows, and AES-GCM of our own is cryptography, as Go's is.
func TestColour(t *testing.T) {
	const ours = "github.com/ron-transport/ron-transport/"
	if a, b := colour(ours+"tls/internal/aesgcm.sealMore512"), colour("crypto/internal/fips140/aes/gcm.seal"); a != b {
		t.Errorf("AES-GCM of our own is %s, Go's %s", a, b)
	}
	seen := map[string]string{}
	for _, name := range []string{ours + "tls.(*Conn).Seal", ours + "bench/peers.Echo", "runtime.mallocgc", "golang.org/x/crypto/chacha20.x", "golang.org/x/sys/unix.Write", "encoding/json.Marshal"} {
		if c := colour(name); seen[c] != "" {
			t.Errorf("%s and %s are both %s", name, seen[c], c)
		} else {
			seen[c] = name
		}
	}
}

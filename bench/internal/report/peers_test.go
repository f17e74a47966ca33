package report

import (
	"bytes"
	"path/filepath"
	"reflect"
	"testing"

	"github.com/ron-transport/ron-transport/bench/internal/proc"
)

// peerPairings are two peers on TLS, of which one is judged, and one on plain TCP that misses.
func peerPairings() []Pairing {
	pairing := func(transport, name string, limit float64, peerCPU float64, suite string) Pairing {
		p := Pairing{Transport: transport, Workload: "4k-50x16", Payload: 4096, Conns: 50, Depth: 16, PeerName: name}
		for i, ours := range []float64{3, 3.3, 2.7} {
			a, b := phases()[1], phases()[1]
			a.Errors, b.Errors = Errors{}, Errors{}
			a.ServerUse, b.ServerUse = use(ours), use(peerCPU)
			a.FPS, a.FPSPerCore, b.FPS, b.FPSPerCore = 180000, 90000, 91000, 45500
			a.Session, b.Session = Session{Established: 50, Resumed: 50, Suite: suite}, Session{Established: 50, Resumed: 49, Suite: suite, Group: "X25519"}
			if suite != "" {
				a.Session.Group = "X25519MLKEM768"
			}
			p.Rounds = append(p.Rounds, Round{Ours: a, Peer: b, OursFirst: i%2 == 0})
		}
		p.Summarise(limit)
		return p
	}
	way := pairing("quic", "quic-go", 0, 5, "TLS_AES_128_GCM_SHA256")
	way.OneWay, way.Rate = true, &Rate{GbpsTarget: 2.2}
	way.Summarise(0)
	return []Pairing{
		pairing("tls", "net + crypto/tls", 0.7, 5, "TLS_AES_128_GCM_SHA256"), pairing("tls", "nbio TLS", 0, 6, "TLS_AES_128_GCM_SHA256"),
		pairing("tcp", "gnet", 1.05, 2.5, ""), way,
	}
}

func TestTextOfPeers(t *testing.T) {
	var b bytes.Buffer
	r := &Report{Kind: KindPeers, MeasuredOn: proc.Machine{CPUModel: "Some CPU", Cores: 2, MemoryBytes: 8 << 30, Kernel: "6.1.0", GoVersion: "go1.26"}, Compare: peerPairings()}
	nbio := &r.Compare[1]
	nbio.Rounds[1].Peer.Errors = Errors{ConnLost: 1, Unanswered: 16, FirstError: "EOF"}
	nbio.Summarise(0)
	r.LeftOut = []LeftOutPeer{{Transport: "tls", Peer: "tokio-rustls", Reason: "not available: no cargo in PATH"}}
	r.SLO = JudgeRatios(r.Compare)
	r.Text(&b)
	golden(t, "peers.txt", b.Bytes())

	path := filepath.Join(t.TempDir(), "r.json")
	if err := r.WriteFile(path); err != nil {
		t.Fatal(err)
	}
	if got, err := Read(path); err != nil || !reflect.DeepEqual(got, r) {
		t.Errorf("%v; read %+v\nwrote %+v", err, got, r)
	}
}

// The medians have their spread, and what was negotiated is added up.
func TestSides(t *testing.T) {
	p := peerPairings()[0]
	if s := p.Ours; s.CPUPerFrameUS != 3 || s.CPUMin != 2.7 || s.CPUMax != 3.3 || s.FPSPerCore != 90000 {
		t.Errorf("%+v", s)
	}
	if s := p.Peer.Session; s.Established != 150 || s.Resumed != 147 || s.Group != "X25519" {
		t.Errorf("%+v", s)
	}
	var s Session
	for _, suite := range []string{"A", "", "B", "A"} {
		s.Add(&Session{Suite: suite, Established: 1})
	}
	if s.Suite != "A or B" || s.Established != 4 {
		t.Errorf("%+v", s)
	}
}

// The faults of a peer that is only shown do not fail the run; ours do, and so do those of a peer that is judged.
func TestErrorsOfPeers(t *testing.T) {
	for name, c := range map[string]struct {
		pairing    int
		ours, peer uint64
		failed     bool
	}{
		"shown peer": {1, 0, 5, false}, "ours beside it": {1, 5, 0, true}, "judged peer": {0, 0, 5, true}, "nobody": {0, 0, 0, false},
	} {
		p := peerPairings()[c.pairing]
		for i := range p.Rounds {
			p.Rounds[i].Ours.Errors.Unanswered, p.Rounds[i].Peer.Errors.Unanswered = c.ours, c.peer
		}
		p.Summarise(p.Target)
		if rows := JudgeRatios([]Pairing{p}); AllPass(rows) == c.failed || p.Pass == c.failed {
			t.Errorf("%s: pass %v, rows %+v", name, p.Pass, rows)
		}
	}
}

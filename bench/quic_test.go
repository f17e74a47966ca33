package main

import (
	"context"
	stdtls "crypto/tls"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	quicgo "github.com/quic-go/quic-go"
	"github.com/spf13/pflag"
	"go.uber.org/goleak"

	"github.com/ron-transport/ron-transport/bench/internal/load"
	"github.com/ron-transport/ron-transport/bench/internal/report"
	quicgopeer "github.com/ron-transport/ron-transport/bench/peers/quicgo"
)

// startQUIC starts our server in this process with flags on top of o.
func startQUIC(t *testing.T, o *serverOptions, args ...string) *ourServer {
	t.Helper()
	ignore := goleak.IgnoreCurrent()
	t.Cleanup(func() { goleak.VerifyNone(t, ignore) }) // after the server's end
	f := pflag.NewFlagSet("", pflag.ContinueOnError)
	o.knobs.registerLoops(f)
	o.knobs.registerTLS(f)
	o.quic.registerServer(f)
	if err := errors.Join(f.Parse(args), o.validate()); err != nil {
		t.Fatal(err)
	}
	files := makeCert(t)
	crt, err := files.Load()
	if err != nil {
		t.Fatal(err)
	}
	s, err := openQUIC(t.Context(), o, &crt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s.(*ourServer)
}

// dialStock connects a stock client to s.
func dialStock(t *testing.T, s *ourServer) *quicgo.Conn {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	c, err := quicgopeer.NewClient(&stdtls.Config{InsecureSkipVerify: true, ServerName: "localhost"}).Dial(ctx, s.Addr())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.CloseWithError(0, "") })
	return c
}

// Flags of the server show in what the socket, the handshake and the peer see.
func TestQUICServerFlagsAreInForce(t *testing.T) {
	start := func(args ...string) *ourServer {
		return startQUIC(t, &serverOptions{kind: kindOf(t, "quic_echo_server"), listen: "127.0.0.1:0"}, args...)
	}
	plain, changed := start(), start("--sndbuf", "65536", "--rcvbuf", "131072", "--no-gro", "--no-gso", "--max-streams", "3", "--retry-above", "-1", "--loops", "1")
	send, recv := plain.listener.Granted()
	s, r := changed.listener.Granted()
	if s != 2*65536 || r != 2*131072 || send <= s || recv <= r {
		t.Errorf("buffers granted: %d, %d; with the defaults %d, %d", s, r, send, recv)
	}
	if o := changed.quic.Offload(); o.GRO || o.GSO {
		t.Errorf("%+v with --no-gro --no-gso", o)
	}
	c := dialStock(t, changed)
	for range 3 {
		if _, err := c.OpenStream(); err != nil {
			t.Error(err)
		}
	}
	var limit *quicgo.StreamLimitReachedError
	if _, err := c.OpenStream(); !errors.As(err, &limit) {
		t.Errorf("a fourth stream with --max-streams 3: %v", err)
	}
	c = dialStock(t, plain)
	for range 512 {
		if _, err := c.OpenStream(); err != nil {
			t.Fatal(err)
		}
	}
	if n, m := plain.quic.Stats().Retries, changed.quic.Stats().Retries; n != 0 || m == 0 {
		t.Errorf("%d clients had to prove their address by default, %d with --retry-above -1", n, m)
	}
	if got := changed.reactor.Loops(); got != 1 {
		t.Errorf("%d loops with --loops 1", got)
	}
}

// Both clients work with both servers, in every kind of loop: each end with its own kind, and with a stranger.
func TestQUICInterop(t *testing.T) {
	t.Setenv(asMain, "1")
	a := &app{stdout: os.Stdout, stderr: os.Stderr}
	for _, command := range []string{"quic_echo_server", "peer_quicgo_echo_server"} {
		files := makeCert(t)
		srv, err := a.startServer(command, files)
		if err != nil {
			t.Fatal(err)
		}
		for _, transport := range []string{load.QUIC, load.StockQUIC} {
			srv.transport = transport
			for _, c := range []load.Config{
				{Conns: 3, Streams: 5, Payload: 1024, RPS: 300, Window: 500 * time.Millisecond},
				{Conns: 2, Streams: 2, Payload: 65536, Depth: 1, Window: 3 * time.Second}, // a frame may take a second on a busy machine
				{Conns: 2, Streams: 2, Payload: 5000, Depth: 5, MaxInflight: 3, Window: 500 * time.Millisecond},
				{Conns: 2, Streams: 2, Payload: 65536, OneWay: true, Window: 500 * time.Millisecond},
			} {
				p, err := a.phase(t, srv, files, c)
				if err != nil {
					t.Fatalf("%s with %s: %v", command, transport, err)
				}
				if p.Frames == 0 || p.Errors.Total() != 0 || p.Session.Established != c.Conns || p.Session.Resumed != c.Conns || p.Streams != c.Streams ||
					p.Transport != transport || c.OneWay && p.Confirmed < p.Frames {
					t.Errorf("%s with %s: %+v", command, transport, p)
				}
				if u := p.ServerUse; u == nil || u.RSSPeak < u.RSSEnd || u.RSSEnd <= 0 {
					t.Errorf("%s with %s: the server used %+v", command, transport, u)
				}
			}
		}
		var s report.Server
		if err := srv.stop(&s); err != nil || s.Failed != 0 || s.Frames == 0 || s.Streams < 58 || s.Accepted < 26 {
			t.Errorf("%s reports %+v, %v", command, s, err)
		}
	}
}

// One-way loads work over TLS, with either server.
func TestOneWayOverTLS(t *testing.T) {
	t.Setenv(asMain, "1")
	a := &app{stdout: os.Stdout, stderr: os.Stderr}
	for _, command := range []string{"tls_echo_server", "peer_nettls_echo_server"} {
		files := makeCert(t)
		srv, err := a.startServer(command, files)
		if err != nil {
			t.Fatal(err)
		}
		p, err := a.phase(t, srv, files, load.Config{Conns: 3, Payload: 65536, OneWay: true, Window: 500 * time.Millisecond})
		if err != nil {
			t.Fatal(err)
		}
		if p.Frames == 0 || p.Errors.Total() != 0 || p.Confirmed < p.Frames || p.Mode != report.OneWay {
			t.Errorf("%s: %+v", command, p)
		}
		if err := srv.stop(nil); err != nil {
			t.Error(err)
		}
	}
}

// With --early the first request of every stream goes in 0-RTT packets: a server that lists the load's protocol answers it, one
// that lists others refuses it, and with one that takes no 0-RTT it is asked again.
func TestQUICEarlyData(t *testing.T) {
	t.Setenv(asMain, "1")
	a := &app{stdout: os.Stdout, stderr: os.Stderr}
	for _, c := range []struct {
		server      string
		status      int
		early       int
		why, reason string
	}{
		{"--early-apps=7,32343", exitOK, 3, "", ""},
		{"--early-apps=7", exitFailed, 0, "503", "not_ready"},
		{"--keep-alive=0s", exitOK, 0, "", ""},
	} {
		files := makeCert(t)
		srv, err := a.startServer("quic_echo_server", files, c.server)
		if err != nil {
			t.Fatal(err)
		}
		out := filepath.Join(t.TempDir(), "c.json")
		for window := 500 * time.Millisecond; ; window *= 4 {
			status, stdout, stderr := run(t, easy(), "quic_echo_client", "--target", srv.target(), "--ca", files.Cert, "--conns", "3", "--streams", "2", "--resume", "--early",
				"--duration", window.String(), "--warmup", "0s", "--json", out)
			if status != c.status || !strings.Contains(stdout+stderr, c.why) {
				t.Fatalf("%s: exit status %d\n%s%s", c.server, status, stdout, stderr)
			}
			if status != exitOK {
				break
			}
			r, err := report.Read(out)
			if err != nil {
				t.Fatal(err)
			}
			p := r.Phases[0]
			if p.Frames == 0 && p.Errors.Total() == 0 && window < time.Minute {
				continue // a busy machine
			}
			if p.Session.Resumed != 3 || p.Session.Early != c.early || p.Errors.Total() != 0 || p.Frames == 0 {
				t.Errorf("%s: %+v", c.server, p)
			}
			break
		}
		var s report.Server
		if err := srv.stop(&s); err != nil || c.reason != "" && s.Rejected[c.reason] == 0 {
			t.Errorf("%s: %+v, %v", c.server, s, err)
		}
	}
}

func TestCompareQUIC(t *testing.T) {
	out := filepath.Join(t.TempDir(), "cmp.json")
	names := "4k-50x4,16k-open,64k-one-way"
	status, stdout, stderr := run(t, easy(), "compare", "--transport", "quic", "--workloads", names, "--rounds", "2", "--duration", "100ms", "--json", out)
	if status != exitOK {
		t.Fatalf("exit status %d without --gate\n%s%s", status, stdout, stderr)
	}
	r, err := report.Read(out)
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Compare) != 3 {
		t.Fatalf("%+v", r)
	}
	var rows []string
	for _, row := range r.SLO {
		rows = append(rows, row.ID)
	}
	if want := []string{"cpu_ratio", "fps_ratio", "quic_1rtt_p95", "quic_1rtt_p99", "quic_stream_64k_gbps"}; !slices.Equal(rows, want) {
		t.Errorf("rows %v, want %v", rows, want)
	}
	for _, p := range r.Compare {
		if len(p.Rounds) != 2 || !p.Rounds[0].OursFirst || p.Rounds[1].OursFirst || p.PeerName != "quic-go" || p.Ours.Errors+p.Peer.Errors != 0 ||
			p.Rate == nil || p.Ours.ServerPeak <= 0 || p.Peer.ClientPeak <= 0 {
			t.Errorf("%+v", p)
		}
		for _, round := range p.Rounds { // both ends are of one kind
			if round.Ours.Transport != load.QUIC || round.Peer.Transport != load.StockQUIC || round.Ours.Client.PID == round.Peer.Client.PID {
				t.Errorf("%s: ours over %s, peer over %s", p.Workload, round.Ours.Transport, round.Peer.Transport)
			}
		}
	}
	for _, want := range []string{"fps ratio", "client CPU/frame", "peak memory"} {
		if !strings.Contains(stdout, want) {
			t.Errorf("the table lacks %q:\n%s", want, stdout)
		}
	}
}

// The seed's many streams with large frames, in small: permits bound what is in flight on a connection, and every stream gets its turn.
func TestManyStreamsFewPermits(t *testing.T) {
	t.Setenv(asMain, "1")
	a := &app{stdout: os.Stdout, stderr: os.Stderr}
	c := load.Config{Conns: 2, Streams: 60, Payload: 65536, Depth: 1, MaxInflight: 4, Window: time.Second}
	for ; ; c.Window *= 4 {
		files := makeCert(t)
		srv, err := a.startServer("quic_echo_server", files)
		if err != nil {
			t.Fatal(err)
		}
		p, err := a.phase(t, srv, files, c)
		if err != nil {
			t.Fatal(err)
		}
		if p.Errors.Total() != 0 || p.Client.RSSPeak <= 0 {
			t.Errorf("%+v", p)
		}
		var s report.Server
		if err := srv.stop(&s); err != nil || s.Failed != 0 || s.QUIC == nil || s.Offload == nil || s.SndBuf == 0 {
			t.Errorf("%+v, %v", s, err)
		}
		streams := uint64(c.Conns * c.Streams)
		if uint64(s.Streams) < streams && c.Window < time.Minute && !t.Failed() {
			continue // until there was time for everybody's turn
		}
		if uint64(s.Streams) < streams { // one is there for the server with its first frame; there is another for the ticket
			t.Errorf("%d frames on %d streams, want a turn for each of %d", s.Frames, s.Streams, streams)
		}
		return
	}
}

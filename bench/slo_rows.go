package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/ron-transport/ron-transport/bench/internal/load"
	"github.com/ron-transport/ron-transport/bench/internal/report"
	"github.com/ron-transport/ron-transport/tor/torlab"
)

// Rates of the open loops, requests due per second. They are what the seed says where it says something; else what two cores that server and
// client share carry with room, so that the latency is the transport's and no queue's.
const (
	resumedRPS  = 1000 // the seed's bare run: --payload 16384 --rps 1000
	smallRPS    = 15000
	coldRPS     = 200
	mixedRPS    = 2000
	sloPayload  = 16 << 10
	coldAtOnce  = 64
	smallConns  = 200 // the seed's command line
	streamConns = 16
)

// sloRow is a row of the seed's tables, or a reference workload: either a load on a server, or another command of ronbench that measures it.
type sloRow struct {
	name string
	what string // of it, and what a row that is left out says
	id   string // of a row that is left out

	server string // the command of the server
	load   load.Config

	flag    string                                        // of the choice
	choice  func(o *sloOptions) string                    // its value
	able    func(a *app) error                            // why it is not possible here
	command func(o *sloOptions) ([]string, time.Duration) // what is run, and how long that may take; it takes --json
}

// sloRows are the rows in the order in which they are measured. A further one that another command measures is one more entry.
func sloRows() []sloRow {
	mix := []load.Part{{Payload: 4 << 10, Weight: 90}, {Payload: 64 << 10, Weight: 10}}
	tls, quic := "tls_echo_server", "quic_echo_server"
	return []sloRow{
		{name: "resumed", what: "TLS resumed, 16 KiB, open loop", server: tls, load: load.Config{Conns: defaultConns, Payload: sloPayload, RPS: resumedRPS}},
		{name: "cold", what: "TLS cold, a fresh connection for each 16 KiB request, open loop", server: tls,
			load: load.Config{Cold: true, Conns: coldAtOnce, Payload: sloPayload, RPS: coldRPS}},
		{name: "quic", what: "QUIC 1-RTT, 16 KiB, open loop", server: quic, load: load.Config{Conns: defaultConns, Streams: defaultStreams, Payload: sloPayload, RPS: quicOpenRPS}},
		{name: "small-target", what: "small frames over TLS at the target rate, 4 KiB, open loop", server: tls, load: load.Config{Conns: smallConns, Payload: defaultPayload, RPS: smallRPS}},
		{name: "small", what: "small frames over TLS, 4 KiB, as many as go", server: tls, load: load.Config{Conns: defaultConns, Payload: defaultPayload, Depth: defaultDepth}},
		{name: "stream", what: "64 KiB streaming over TLS, one way", server: tls, load: load.Config{Conns: streamConns, Payload: streamPayload, OneWay: true}},
		{name: "quic-stream", what: "64 KiB streaming over QUIC, one way", server: quic, load: load.Config{Conns: 8, Streams: 1, Payload: streamPayload, OneWay: true}},
		{name: "quic-streams", what: "64 KiB over many streams of QUIC, there and back", server: quic, load: load.Config{Conns: 8, Streams: 16, Payload: streamPayload, Depth: 1}},
		{name: "mixed", what: "mixed small and 64 KiB frames over TLS, open loop", server: tls, load: load.Config{Conns: defaultConns, Mix: mix, RPS: mixedRPS}},
		{name: "tor", what: "HELLO and small frames over Tor", id: "tor_hello", flag: "tor", choice: func(o *sloOptions) string { return o.tor },
			able: func(*app) error { return torlab.Available() }, command: torRun},
		{name: "inter-region", what: "TLS 16 KiB between regions, at an emulated round trip", id: "interregion", flag: "wan", choice: func(o *sloOptions) string { return o.wan },
			able: (*app).canWAN, command: wanRun},
	}
}

// Time that runs may take besides their loads.
const (
	torUpWait = 3 * time.Minute // a private network, on a slow and busy machine too
	wanUpWait = time.Minute
)

// torRun is ronbench tor, with the rates and connections that it has by itself.
func torRun(o *sloOptions) ([]string, time.Duration) {
	return []string{"tor", "--duration", o.duration.String(), "--warmup", o.warmup.String(), "--hellos", strconv.Itoa(o.hellos)},
		torUpWait + 2*time.Duration(o.hellos)*helloTime + 2*(o.duration+o.warmup+slackWait)
}

// wanRun is ronbench wan, at the round trip that it has by itself.
func wanRun(o *sloOptions) ([]string, time.Duration) {
	return []string{"wan", "--duration", o.duration.String(), "--warmup", o.warmup.String()}, wanUpWait + 2*(o.duration+o.warmup+slackWait)
}

// leftOut is why the row is not measured, nil where it is.
func (r *sloRow) leftOut(a *app, o *sloOptions) error {
	if r.command == nil {
		return nil
	}
	if r.choice(o) == choiceOff {
		return fmt.Errorf("--%s off", r.flag)
	}
	return r.able(a)
}

// without is the row in the table where it has no figures.
func (r *sloRow) without(why error) report.SLORow {
	id := r.id
	if id == "" {
		id = r.name
	}
	return report.SLORow{ID: id, Phase: r.name, What: r.what, Verdict: report.LeftOut, Why: why.Error()}
}

// failed is the row in the table where it should have figures and has none.
func (r *sloRow) failed(why error) report.SLORow {
	row := r.without(why)
	row.Verdict = report.Failed
	return row
}

// sloChild runs another command of ronbench, which is possible here, and reads its report.
func (a *app) sloChild(ctx context.Context, o *sloOptions, row sloRow, out string) (*report.Report, error) {
	args, expected := row.command(o)
	last := new(lastLine)
	failed := a.runChild(ctx, io.MultiWriter(a.stderr, last), append(args, "--json", out), expected)
	r, err := report.Read(out)
	switch {
	case err == nil && (failed == nil || errors.Is(failed, errChildMissed)): // what was missed is judged here again
		return r, os.Remove(out)
	case err == nil || !errors.Is(err, os.ErrNotExist):
		return nil, errors.Join(failed, err)
	}
	return nil, fmt.Errorf("ronbench %s could not measure: %s", args[0], last.String())
}

// lastLine keeps the last line that is written to it. Any goroutine.
type lastLine struct {
	mu   sync.Mutex
	text []byte
}

// lineKept bounds a line; progress lines are never longer.
const lineKept = 4 << 10

func (l *lastLine) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.text = append(l.text, p...)
	if cut := bytes.LastIndexAny(bytes.TrimRight(l.text, "\r\n "), "\r\n"); cut >= 0 {
		l.text = append(l.text[:0], l.text[cut+1:]...)
	}
	if n := len(l.text) - lineKept; n > 0 {
		l.text = append(l.text[:0], l.text[n:]...)
	}
	return len(p), nil
}

func (l *lastLine) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.TrimSpace(string(l.text))
}

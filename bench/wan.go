package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/ron-transport/ron-transport/bench/internal/child"
	"github.com/ron-transport/ron-transport/bench/internal/report"
	"github.com/ron-transport/ron-transport/scripts/netem/impair"
)

// Lines that the process of the path prints on standard output.
const (
	lineWANPath     = "path "     // client, server: where the namespaces are, once the path is up
	lineWANCounters = "counters " // the counters as JSON, at its end
)

// Probes of the round trip before the load.
const (
	wanProbes   = 100
	wanProbeGap = 10 * time.Millisecond
	wanPatience = 2 * time.Second // for the last answers, beside the round trip
)

// wanPath is the process of the path, and its namespaces.
type wanPath struct {
	*child.Process
	client, server *impair.Namespace
}

// startWANPath starts the process and opens its namespaces. They have no names, and go when the last process in them does.
func (a *app) startWANPath(o *wanPathOptions) (*wanPath, error) {
	exe, err := os.Executable()
	if err != nil {
		return nil, err
	}
	p := new(wanPath)
	if p.Process, err = child.Start(nil, exe, "wan_path", "--with-parent", "--rtt", o.rtt.String(), "--jitter", o.jitter.String(), "--loss", o.loss,
		"--rate", o.rate, "--seed", strconv.FormatUint(o.seed, 10)); err != nil {
		return nil, err
	}
	line, err := p.WaitLine(lineWANPath, startWait)
	if err == nil {
		err = p.open(line)
	}
	if err != nil {
		return nil, errors.Join(err, p.stop(nil))
	}
	return p, nil
}

// open opens the namespaces that the process has told of.
func (p *wanPath) open(line string) error {
	for _, n := range []struct {
		key string
		to  **impair.Namespace
	}{{"client", &p.client}, {"server", &p.server}} {
		at, err := field(line, n.key)
		if err != nil {
			return err
		}
		if *n.to, err = impair.OpenNamespace(at); err != nil {
			return err
		}
	}
	return nil
}

// stop ends the process and reads its counters into w, if that is wanted.
func (p *wanPath) stop(w *report.WAN) error {
	errs := []error{p.Stop(stopWait)}
	for _, n := range []*impair.Namespace{p.client, p.server} {
		if n != nil {
			errs = append(errs, n.Close())
		}
	}
	if w != nil && errs[0] == nil {
		line, err := p.WaitLine(lineWANCounters, startWait)
		if err == nil {
			err = json.Unmarshal([]byte(strings.TrimPrefix(line, lineWANCounters)), &w.Counters)
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// hostTuning is how docs/embedding.md has hosts set whose connections cross long paths and are often idle, as sysctl(8) takes it. Every network
// namespace has its own.
func hostTuning() []string {
	return []string{
		// BBR paces by the little that such a connection has sent lately.
		"net.ipv4.tcp_congestion_control=cubic",
		// And CUBIC would begin with ten packets again after each pause, which is less than a frame of 16 KiB.
		"net.ipv4.tcp_slow_start_after_idle=0",
	}
}

// sysctl is the file of a setting.
func sysctl(name string) string { return "/proc/sys/" + strings.ReplaceAll(name, ".", "/") }

// tune sets the hosts at both ends.
func (p *wanPath) tune(settings []string) error {
	set := func() error {
		for _, s := range settings {
			name, value, _ := strings.Cut(s, "=")
			if err := os.WriteFile(sysctl(name), []byte(value), 0); err != nil {
				return fmt.Errorf("%s: %w", s, err)
			}
		}
		return nil
	}
	var errs []error
	for _, end := range []struct {
		name string
		at   *impair.Namespace
	}{{"client", p.client}, {"server", p.server}} {
		if err := end.at.Inside(set); err != nil {
			errs = append(errs, fmt.Errorf("the %s's end of the path: %w", end.name, err))
		}
	}
	return errors.Join(errs...)
}

// section is what the report says of the path before anything is measured.
func (o *wanPathOptions) section() *report.WAN {
	ms := func(d time.Duration) float64 { return d.Seconds() * 1e3 }
	return &report.WAN{Means: report.WANByTUN, AskedMS: ms(o.rtt), JitterMS: ms(o.jitter), LossPct: 100 * o.params.Loss,
		Gbps: float64(o.params.Rate) * 8 / 1e9, Seed: o.seed}
}

// measure measures the round trip on the idle path.
func (p *wanPath) measure(ctx context.Context, a *app, asked time.Duration) (impair.RTT, error) {
	progress := report.NewProgress(a.stderr)
	progress.Line(time.Now(), fmt.Sprintf("measuring the round trip of the path: %d probes", wanProbes))
	defer progress.Done()
	rtt, err := impair.MeasureRTT(ctx, p.client, impair.DefaultB.Addr(), wanProbes, wanProbeGap, 2*asked+wanPatience)
	return rtt, errors.Join(ctx.Err(), err)
}

// ends are those of the path, once its round trip is known.
func (p *wanPath) ends(rttMS float64) *ends {
	return &ends{
		server: p.server.Inside, serverArgs: []string{"--listen", netip.AddrPortFrom(impair.DefaultB.Addr(), 0).String()},
		client: p.client.Inside, clientArgs: []string{"--measure", fmt.Sprintf("path=%d", p.PID())},
		rttMS: rttMS,
	}
}

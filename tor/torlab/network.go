package torlab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ron-transport/ron-transport/tor/control"
	"github.com/ron-transport/ron-transport/tor/internal/proc"
)

// Network is a private Tor network. Any goroutine may call its methods.
type Network struct {
	cfg     Config
	own     bool // the directory is ours to remove
	kept    atomic.Bool
	auth    *Tor
	relays  []*Tor
	clients []*Tor
	common  []string // configuration that all nodes share
}

// Start brings a network up and returns when its clients have bootstrapped. The error names the stage and the directory with the logs,
// which is kept then. Close must be called in the end. It talks to nothing but 127.0.0.1.
func Start(ctx context.Context, cfg Config) (*Network, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	if err := Available(); err != nil {
		return nil, err
	}
	n := &Network{cfg: cfg}
	if n.own, err = n.cfg.makeDir(); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, cfg.Timeout)
	defer cancel()
	if err := n.start(ctx); err != nil {
		n.KeepLogs()
		return nil, errors.Join(fmt.Errorf("%w (logs in %s)", err, n.cfg.Dir), n.Close())
	}
	return n, nil
}

// Dir is the directory with everything in it.
func (n *Network) Dir() string { return n.cfg.Dir }

// Authority is the directory authority, which is a relay too.
func (n *Network) Authority() *Tor { return n.auth }

// Relays are the relays besides the authority.
func (n *Network) Relays() []*Tor { return n.relays }

// Client is the i-th client, from 0. It panics beyond Config.Clients.
func (n *Network) Client(i int) *Tor { return n.clients[i] }

// Options are the lines of configuration that have another tor take part in this network, and in no other.
func (n *Network) Options() []string { return append([]string(nil), n.common...) }

// KeepLogs has Close leave the directory, for someone to look at.
func (n *Network) KeepLogs() { n.kept.Store(true) }

// Close ends all processes, and removes the directory if it is the network's own.
func (n *Network) Close() error {
	var wg sync.WaitGroup
	for _, t := range n.all() {
		wg.Go(func() { _ = t.stop() }) // how a node that is to end has ended is of no interest
	}
	wg.Wait()
	if !n.own || n.kept.Load() {
		return nil
	}
	return os.RemoveAll(n.cfg.Dir)
}

// all are all nodes.
func (n *Network) all() []*Tor {
	var all []*Tor
	if n.auth != nil {
		all = append(all, n.auth)
	}
	return append(append(all, n.relays...), n.clients...)
}

// start is Start, in the phases that make it quick: without them a network takes up to 27 s.
func (n *Network) start(ctx context.Context) error {
	n.cfg.Progress("keys", 0)
	if err := n.prepare(); err != nil {
		return err
	}
	n.cfg.Progress("relays", 15)
	for _, t := range append([]*Tor{n.auth}, n.relays...) {
		if err := t.start(); err != nil {
			return err
		}
	}
	if err := n.vote(ctx); err != nil {
		return err
	}
	for _, t := range n.clients {
		if err := t.start(); err != nil { // without network so far, so that all the work of a start is behind them then
			return err
		}
	}
	n.cfg.Progress("relays' directories", 50)
	for _, t := range n.relays { // they ask for the consensus at once, instead of some time
		c, err := t.control(ctx)
		if err != nil {
			return err
		}
		if err := errors.Join(c.Signal(ctx, control.SignalReload), c.Close()); err != nil {
			return err
		}
	}
	// A client that asks a relay for descriptors which it does not have yet waits for ten seconds before it asks again. A relay's own progress of
	// bootstrapping does not tell: it stays at 0 while the relay has no connection of its own making.
	for i, t := range n.relays {
		if err := t.await(ctx, "status/enough-dir-info", func(answer string) bool { return answer == "1" }); err != nil {
			return err
		}
		n.cfg.Progress("directory of "+t.name, 50+(i+1)*25/len(n.relays))
	}
	if err := n.connect(ctx); err != nil {
		return err
	}
	return n.bootstrap(ctx)
}

// connect has the clients use the network.
func (n *Network) connect(ctx context.Context) error {
	for _, t := range n.clients {
		c, err := t.control(ctx)
		if err != nil {
			return err
		}
		if err := errors.Join(c.SetConf(ctx, map[string][]string{"DisableNetwork": {"0"}}), c.Close()); err != nil {
			return err
		}
		if err := t.write(t.lines...); err != nil { // as it is to be after Restart
			return err
		}
	}
	return nil
}

// bootstrap waits until the clients have bootstrapped.
func (n *Network) bootstrap(ctx context.Context) error {
	for i, t := range n.clients {
		if err := t.await(ctx, "status/bootstrap-phase", func(answer string) bool {
			p, _ := strconv.Atoi(control.Field(control.Words(answer), "PROGRESS"))
			n.cfg.Progress("bootstrap of "+t.name, 75+(i*100+p)*25/(100*len(n.clients)))
			return p == 100
		}); err != nil {
			return err
		}
	}
	return nil
}

// vote has the authority vote as soon as all relays have registered. A vote without some of them would cost the network the interval
// between votes.
func (n *Network) vote(ctx context.Context) error {
	if err := n.auth.await(ctx, "desc/all-recent", func(all string) bool {
		return strings.Count("\n"+all, "\nrouter ") == 1+len(n.relays)
	}); err != nil {
		return err
	}
	n.cfg.Progress("consensus", 30)
	c, err := n.auth.control(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }()
	if err := c.SetConf(ctx, map[string][]string{"TestingV3AuthVotingStartOffset": {strconv.FormatInt(offset(time.Now().Add(firstVote)), 10)}}); err != nil {
		return err
	}
	return n.auth.await(ctx, "ns/all", func(ns string) bool { return strings.Count(ns, " Running ") == 1+len(n.relays) })
}

// offset is when within each interval a consensus is due, in seconds, so that one is due at t.
func offset(t time.Time) int64 { return t.Unix() % int64(firstInterval/time.Second) }

// prepare makes the authority's keys and everybody's configuration.
func (n *Network) prepare() error {
	node := func(name string) *Tor { return &Tor{name: name, dir: filepath.Join(n.cfg.Dir, name)} }
	n.auth = node("authority")
	ports, err := freePorts(2 + n.cfg.Relays)
	if err != nil {
		return err
	}
	or, dir := ports[0], ports[1]
	n.common = []string{"TestingTorNetwork 1", "UseDefaultFallbackDirs 0", "PathsNeededToBuildCircuits 0.67"}
	v3ident, fingerprint, err := n.authorityKeys(or, dir)
	if err != nil {
		return err
	}
	n.common = append(n.common, fmt.Sprintf("DirAuthority lab orport=%d no-v2 v3ident=%s 127.0.0.1:%d %s", or, v3ident, dir, fingerprint))
	if err := errors.Join(n.auth.write(append(n.authority(or, dir), n.common...)...), n.auth.remember()); err != nil {
		return err
	}
	for i, port := range ports[2:] {
		t := node(fmt.Sprintf("relay%d", i+1))
		n.relays = append(n.relays, t)
		if err := errors.Join(t.write(append(relay(t.name, port), n.common...)...), t.remember()); err != nil {
			return err
		}
	}
	for i := range n.cfg.Clients {
		t := node(fmt.Sprintf("client%d", i+1))
		n.clients = append(n.clients, t)
		// LearnCircuitBuildTimeout: after a hundred circuits tor gives up the slowest fifth of those it builds, which keeps it from slow
		// relays. Here all relays are one machine, and what it gives up is what another process has held up: that costs a second or more.
		lines := append([]string{"SocksPort unix:" + t.SocksSocket() + " ExtendedErrors", "LearnCircuitBuildTimeout 0"}, n.cfg.ClientOptions...)
		t.lines = append(lines, n.common...)
		if err := t.write(append([]string{"DisableNetwork 1"}, t.lines...)...); err != nil {
			return err
		}
	}
	return nil
}

// relay is the configuration of a relay.
func relay(name string, or int) []string {
	return []string{"Nickname " + name, "Address 127.0.0.1", fmt.Sprintf("ORPort 127.0.0.1:%d", or), "AssumeReachable 1", "SocksPort 0", "ExitRelay 0"}
}

// authority is the configuration of the authority. The first consensus is due as late as can be.
func (n *Network) authority(or, dir int) []string {
	return append(relay("authority", or),
		"AuthoritativeDirectory 1", "V3AuthoritativeDirectory 1", "ContactInfo torlab@localhost.invalid", fmt.Sprintf("DirPort 127.0.0.1:%d", dir),
		"TestingDirAuthVoteExit *", "TestingDirAuthVoteHSDir *", "TestingDirAuthVoteGuard *", "TestingMinExitFlagThreshold 0", "V3AuthNIntervalsValid 2",
		fmt.Sprintf("TestingV3AuthInitialVotingInterval %d", firstInterval/time.Second), fmt.Sprintf("TestingV3AuthInitialVoteDelay %d", voteDelay/time.Second),
		fmt.Sprintf("TestingV3AuthInitialDistDelay %d", voteDelay/time.Second), fmt.Sprintf("TestingV3AuthVotingStartOffset %d", offset(time.Now())),
		"V3AuthVotingInterval 300", "V3AuthVoteDelay 20", "V3AuthDistDelay 20")
}

// authorityKeys makes the authority's long-term keys and returns their fingerprints.
func (n *Network) authorityKeys(or, dir int) (v3ident, fingerprint string, err error) {
	keys := filepath.Join(n.auth.data(), "keys")
	if err := os.MkdirAll(keys, 0o700); err != nil {
		return "", "", err
	}
	in := func(name string) string { return filepath.Join(keys, name) }
	// Nobody keeps the identity key of a network that lives for minutes, so the passphrase protects nothing.
	if _, err := proc.Run(toolTime, "torlab\n", "tor-gencert", "--create-identity-key", "--passphrase-fd", "0", "-m", "12", "-i", in("authority_identity_key"),
		"-s", in("authority_signing_key"), "-c", in("authority_certificate"), "-a", fmt.Sprintf("127.0.0.1:%d", dir)); err != nil {
		return "", "", fmt.Errorf("torlab: %w", err)
	}
	cert, err := os.ReadFile(in("authority_certificate"))
	if err != nil {
		return "", "", err
	}
	for line := range strings.Lines(string(cert)) {
		if v, ok := strings.CutPrefix(line, "fingerprint "); ok {
			v3ident = strings.TrimSpace(v)
		}
	}
	if err := n.auth.write(append(relay("authority", or), n.common...)...); err != nil {
		return "", "", err
	}
	out, err := proc.Run(toolTime, "", "tor", n.auth.args("--list-fingerprint", "--DirAuthority", "x 127.0.0.1:1 "+strings.Repeat("f", 40))...)
	if err != nil {
		return "", "", fmt.Errorf("torlab: %w", err)
	}
	for line := range strings.Lines(out) {
		if name, f, ok := strings.Cut(strings.TrimSpace(line), " "); ok && name == "authority" {
			fingerprint = strings.ReplaceAll(f, " ", "")
		}
	}
	if len(v3ident) != 40 || len(fingerprint) != 40 {
		return "", "", fmt.Errorf("torlab: the authority's fingerprints are %q and %q, 40 hexadecimal digits are expected", v3ident, fingerprint)
	}
	return v3ident, fingerprint, nil
}

// freePorts finds ports that nobody listens on now. They are held until all are found, so that they differ.
func freePorts(n int) (ports []int, err error) {
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer func() { _ = l.Close() }()
		ports = append(ports, l.Addr().(*net.TCPAddr).Port)
	}
	return ports, nil
}

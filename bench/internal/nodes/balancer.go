package nodes

import (
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"text/template"
	"time"

	"github.com/ron-transport/ron-transport/bench/internal/sched"
)

// balancerConfig is HAProxy's configuration. docs/nodes.md explains it.
var balancerConfig = template.Must(template.New("haproxy.cfg").Parse(`global
  log {{.Log}} local0
  stats socket {{.Socket}} mode 600
defaults
  mode tcp
  timeout connect 2s
  timeout client 10m
  timeout server 10m
  timeout check 5s
  retries 3
  option redispatch 1
  log global
  option logasap
  log-format "conn %cp %s %rc"
frontend clients
  bind {{.Front}}
  default_backend gateways
backend gateways
  balance roundrobin
  option httpchk
  http-check send meth GET uri /readyz?transport=tls
  http-check expect status 200
  default-server check port {{.Admin}} inter {{.Every}}ms fastinter {{.Every}}ms downinter {{.Every}}ms fall {{.Falls}} rise {{.Rises}}
{{- range .Servers}}
  server {{.Name}} {{.Addr}} source {{.From}} send-proxy-v2
{{- end}}
`))

type server struct{ Name, Addr, From string }

// balancer is an HAProxy, and what it has said about connections. Any goroutine.
type balancer struct {
	*process
	addr   string // where clients connect
	socket string
	log    *net.UDPConn
	wg     sync.WaitGroup

	mu    sync.Mutex
	where map[string]int // the clients' ports of connections that nobody has asked for yet, and the node each came to
	moved uint64         // connections that came to another node than the first choice
}

// nodeName is the name of a node in the balancer's configuration.
func nodeName(i int) string { return fmt.Sprintf("node%d", i+1) }

// startBalancer starts HAProxy in dir.
func startBalancer(n *network, haproxy, dir string) (*balancer, error) {
	b := &balancer{addr: net.JoinHostPort(n.front, framePort), socket: filepath.Join(dir, "stats"), where: map[string]int{}}
	err := n.atHub()(func() (err error) { // UDP: of a unix socket's queue Linux bounds the datagrams, to ten
		b.log, err = net.ListenUDP("udp", &net.UDPAddr{IP: net.ParseIP(n.front)})
		return err
	})
	if err != nil {
		return nil, err
	}
	_ = b.log.SetReadBuffer(logBuffer) // as much as there may be
	b.wg.Go(b.listen)
	config := filepath.Join(dir, "haproxy.cfg")
	f, err := os.Create(config)
	if err == nil {
		var servers []server
		for i, a := range n.addrs {
			servers = append(servers, server{nodeName(i), net.JoinHostPort(a, framePort), n.seen[i]})
		}
		err = errors.Join(balancerConfig.Execute(f, map[string]any{"Log": b.log.LocalAddr(), "Socket": b.socket, "Front": b.addr, "Admin": adminPort, "Servers": servers,
			"Every": checkEvery.Milliseconds(), "Falls": checkFalls, "Rises": checkRises}), f.Close())
	}
	if err == nil {
		b.process, err = begin(n.atHub(), haproxy, "-db", "-f", config)
	}
	if err != nil {
		return nil, errors.Join(err, b.close())
	}
	return b, nil
}

// listen takes the log until it is closed.
func (b *balancer) listen() {
	buf := make([]byte, 2048)
	for {
		n, err := b.log.Read(buf)
		if err != nil {
			return
		}
		_, line, _ := strings.Cut(string(buf[:n]), ": conn ")
		f := strings.Fields(line)
		if len(f) != 3 {
			continue
		}
		for i := range Nodes {
			if f[1] == nodeName(i) {
				b.mu.Lock()
				b.where[f[0]] = i
				if strings.HasPrefix(f[2], "+") {
					b.moved++
				}
				b.mu.Unlock()
			}
		}
	}
}

// nodeOf says to which node the connection from an address came. It can be asked once.
func (b *balancer) nodeOf(ctx context.Context, from net.Addr) (int, error) {
	_, port, err := net.SplitHostPort(from.String())
	if err != nil {
		return 0, err
	}
	for end := time.Now().Add(logWait); ; {
		b.mu.Lock()
		i, ok := b.where[port]
		delete(b.where, port)
		b.mu.Unlock()
		if ok {
			return i, nil
		}
		if time.Now().After(end) {
			return 0, fmt.Errorf("the balancer does not say where the connection from %s went", from)
		}
		if err := sched.Sleep(ctx, time.Millisecond); err != nil {
			return 0, err
		}
	}
}

// redispatched is how many connections came to another node than the first choice, which could not be reached.
func (b *balancer) redispatched() uint64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.moved
}

// up says whether the balancer sends connections to a node.
func (b *balancer) up(node int) (bool, error) {
	c, err := net.Dial("unix", b.socket)
	if err != nil && b.ended() {
		return false, fmt.Errorf("the balancer has ended: %s", b.last())
	}
	if err != nil {
		return false, nil // it is starting
	}
	defer func() { _ = c.Close() }()
	_ = c.SetDeadline(time.Now().Add(patience))
	if _, err := io.WriteString(c, "show stat\n"); err != nil {
		return false, err
	}
	r := csv.NewReader(c)
	r.FieldsPerRecord = -1
	rows, err := r.ReadAll()
	if err != nil || len(rows) == 0 {
		return false, fmt.Errorf("the balancer's statistics: %w", err)
	}
	status := -1
	for i, name := range rows[0] {
		if name == "status" {
			status = i
		}
	}
	for _, row := range rows[1:] {
		if len(row) > max(status, 1) && status >= 0 && row[1] == nodeName(node) {
			return row[status] == "UP", nil
		}
	}
	return false, errors.New("the balancer has no statistics of " + strconv.Quote(nodeName(node)))
}

// close ends it.
func (b *balancer) close() error {
	var err error
	if b.process != nil {
		err = b.stop()
	}
	err = errors.Join(err, b.log.Close())
	b.wg.Wait()
	return err
}

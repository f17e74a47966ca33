package impair

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Direction of a path.
type Direction int

const (
	AToB Direction = iota // from the first namespace to the second
	BToA                  // back
)

// String names the direction as counters do.
func (d Direction) String() string { return [...]string{"a_to_b", "b_to_a"}[d] }

// Device is the name of the TUN device that a Pair makes, the same in both namespaces.
const Device = "ron0"

// Default addresses: a network of two hosts from the block for the benchmarking of networks (RFC 2544), which is used nowhere else.
var (
	DefaultA = netip.MustParsePrefix("198.18.0.1/30")
	DefaultB = netip.MustParsePrefix("198.18.0.2/30")
)

// Config is what a Pair is made of.
type Config struct {
	A, B         *Namespace   // the two ends; the caller's, and open as long as the Pair is
	AddrA, AddrB netip.Prefix // IPv4, of one network; zero: DefaultA and DefaultB
	MTU          int          // of the devices, bytes; 0: DefaultMTU
	Seed         uint64       // of everything that is left to chance
	AToB, BToA   Params
}

// Validate fills in the defaults and says what is not allowed. The namespaces are not looked at.
func (c *Config) Validate() error {
	if !c.AddrA.IsValid() && !c.AddrB.IsValid() {
		c.AddrA, c.AddrB = DefaultA, DefaultB
	}
	if c.MTU == 0 {
		c.MTU = DefaultMTU
	}
	var errs []error
	if !c.AddrA.Addr().Is4() || !c.AddrB.Addr().Is4() || c.AddrA.Masked() != c.AddrB.Masked() || c.AddrA == c.AddrB {
		errs = append(errs, fmt.Errorf("impair: addresses %v and %v are not allowed; allowed: two IPv4 addresses of one network", c.AddrA, c.AddrB))
	}
	if c.MTU < MinMTU || c.MTU > MaxPacket {
		errs = append(errs, fmt.Errorf("impair: MTU %d is not allowed; allowed: %d to %d", c.MTU, MinMTU, MaxPacket))
	}
	return errors.Join(append(errs, c.AToB.Validate(), c.BToA.Validate())...)
}

// Pair is a path between two namespaces: a TUN device in each, and a thread for each direction. Any goroutine.
type Pair struct {
	ns   [2]*Namespace
	dev  [2]int // descriptors of the devices in A and in B
	dir  [2]*runner
	done sync.WaitGroup
	once sync.Once
	err  error // of Close
	last [2]Counters
}

// Open makes the devices and begins. The caller closes the Pair; the devices go with it, and with this process however it ends.
func Open(c Config) (*Pair, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	p := &Pair{ns: [2]*Namespace{c.A, c.B}, dev: [2]int{noDevice, noDevice}}
	for i, addr := range []netip.Prefix{c.AddrA, c.AddrB} {
		err := p.ns[i].Inside(func() (err error) {
			if p.dev[i], err = openTUN(Device); err != nil {
				return err
			}
			return configure(Device, addr, c.MTU)
		})
		if err != nil {
			return nil, errors.Join(err, p.closeDevices())
		}
	}
	began := time.Now()
	for d, params := range []Params{c.AToB, c.BToA} {
		r, err := newRunner(p.dev[d], p.dev[1-d], c.MTU, began, NewLink(c.Seed+uint64(d), params))
		if err != nil {
			return nil, errors.Join(err, p.Close())
		}
		p.dir[d] = r
		p.done.Go(r.run)
	}
	return p, nil
}

// Set changes what a direction does from now on: what is under way arrives as it would have, what waits for the rate is sent at the new one.
// The error is that of Params.Validate, or os.ErrClosed from Close on.
func (p *Pair) Set(d Direction, params Params) error {
	if err := params.Validate(); err != nil {
		return err
	}
	return p.dir[d].set(params)
}

// Counters are those of a direction so far; after Close, the last ones.
func (p *Pair) Counters(d Direction) Counters {
	p.dir[d].mu.Lock()
	c := p.dir[d].link.Counters()
	p.dir[d].mu.Unlock()
	if err := p.ns[d].Inside(func() (err error) { c.DeviceDropped, err = droppedBy(Device); return err }); err != nil {
		c.DeviceDropped = p.last[d].DeviceDropped // the device has gone
	}
	return c
}

// Err is why a direction has ended by itself, nil while both run.
func (p *Pair) Err() error { return errors.Join(p.dir[AToB].ended(), p.dir[BToA].ended()) }

// Close ends the path and removes the devices. What was under way is dropped and stays counted as held. The error is why a direction had
// ended before.
func (p *Pair) Close() error {
	p.once.Do(func() {
		for d, r := range p.dir {
			if r != nil {
				p.last[d] = p.Counters(Direction(d))
				p.err = errors.Join(p.err, r.stop())
			}
		}
		p.done.Wait()
		for _, r := range p.dir {
			if r != nil {
				p.err = errors.Join(p.err, r.ended(), r.close())
			}
		}
		p.err = errors.Join(p.err, p.closeDevices())
	})
	return p.err
}

func (p *Pair) closeDevices() error {
	var errs []error
	for _, fd := range p.dev {
		if fd != noDevice {
			errs = append(errs, os.NewSyscallError("close", unix.Close(fd)))
		}
	}
	return errors.Join(errs...)
}

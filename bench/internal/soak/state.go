package soak

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/ron-transport/ron-transport/bench/internal/drift"
	"github.com/ron-transport/ron-transport/bench/internal/report"
)

// schema names the layout of the file. It changes with the meaning of any field.
const schema = "ronbench-soak/1"

// Config is what a soak was told to do. A resumed one does the same.
type Config struct {
	Duration    time.Duration `json:"duration_ns"`
	Conns       int           `json:"conns"` // of TLS and of QUIC each; there are a quarter of them over Tor
	Mix         string        `json:"mix"`
	CPULow      float64       `json:"cpu_low_pct"`
	CPUHigh     float64       `json:"cpu_high_pct"`
	Life        time.Duration `json:"life_ns"` // of a connection, on the average
	SampleEvery time.Duration `json:"sample_every_ns"`
	Rotate      time.Duration `json:"rotate_ns"` // between two certificates; 0: never
	Chaos       bool          `json:"chaos"`
	Tor         bool          `json:"tor"`
	Seed        uint64        `json:"seed"`
}

// State is a soak under way. One goroutine at a time; the caller locks it where there are several.
type State struct {
	Schema   string    `json:"schema"`
	Config   Config    `json:"config"`
	Started  time.Time `json:"started"`
	ElapsedS float64   `json:"elapsed_s"`   // of soaking, pauses left out
	Starts   []float64 `json:"segments_s"`  // where segments begin: processes were started anew
	Rate     float64   `json:"rate"`        // the governor's
	Periods  int       `json:"cpu_periods"` // of the governor, after the warm-up
	InBand   int       `json:"cpu_in_band"` // of them

	Loads    map[string]*report.SoakLoad `json:"loads"` // by transport
	Rotated  int                         `json:"certificates_rotated"`
	Reloads  uint64                      `json:"certificates_taken"` // by the servers
	Tickets  uint64                      `json:"ticket_keys_changed"`
	Resets   uint64                      `json:"resets"`
	Crowd    uint64                      `json:"crowd_opened"`
	CrowdEnd uint64                      `json:"crowd_ended_by_server"`

	Series []*Series `json:"series"`
}

// New is a soak that has not begun.
func New(c Config, now time.Time) *State {
	return &State{Schema: schema, Config: c, Started: now.UTC().Truncate(time.Millisecond), Loads: make(map[string]*report.SoakLoad)}
}

// Begin marks the beginning of a segment.
func (s *State) Begin() { s.Starts = append(s.Starts, s.ElapsedS) }

// Left is how much is still to be soaked.
func (s *State) Left() time.Duration {
	return s.Config.Duration - time.Duration(s.ElapsedS*float64(time.Second))
}

// Warmup is the beginning of each segment that no verdict counts: a fifth of the run, at most a quarter of an hour.
func (s *State) Warmup() time.Duration { return min(s.Config.Duration/5, 15*time.Minute) }

// Add adds a sample to a series, which it makes when it is the first.
func (s *State) Add(name, unit string, t, v float64) {
	s.Get(name, unit).Add(t, v, s.Starts)
}

// Get is the series of that name, made where there is none.
func (s *State) Get(name, unit string) *Series {
	for _, o := range s.Series {
		if o.Name == name {
			return o
		}
	}
	o := &Series{Name: name, Unit: unit, Every: 1}
	s.Series = append(s.Series, o)
	return o
}

// Load is what is counted for a transport.
func (s *State) Load(transport string) *report.SoakLoad {
	l := s.Loads[transport]
	if l == nil {
		l = &report.SoakLoad{Transport: transport}
		s.Loads[transport] = l
	}
	return l
}

// Judge judges a series.
func (s *State) Judge(o *Series, a drift.Allowance) drift.Result {
	return drift.Judge(o.Segments(s.Starts), s.Warmup().Seconds(), a)
}

// Save writes the state to path, whole or not at all, and has it on the disk when it returns.
func (s *State) Save(path string) error {
	b, err := json.Marshal(s)
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".ronbench-soak-*.tmp")
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		_ = os.Remove(f.Name()) // the first error says more
		return err
	}
	return syncDir(filepath.Dir(path))
}

// syncDir has the names in a directory on the disk: without that, a crash of the machine may leave the file before.
func syncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// Load reads what Save wrote.
func Load(path string) (*State, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	s := new(State)
	if err := json.Unmarshal(b, s); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if s.Schema != schema {
		return nil, fmt.Errorf("%s: schema %q; this program reads %q", path, s.Schema, schema)
	}
	if s.Loads == nil {
		s.Loads = make(map[string]*report.SoakLoad)
	}
	for _, o := range s.Series {
		if o == nil || len(o.T) != len(o.V) || !slices.IsSorted(o.T) {
			return nil, fmt.Errorf("%s: a series is damaged", path)
		}
	}
	for transport, l := range s.Loads {
		if l == nil {
			return nil, fmt.Errorf("%s: the load %q is damaged", path, transport)
		}
	}
	if len(s.Starts) == 0 || !slices.IsSorted(s.Starts) || s.ElapsedS < s.Starts[len(s.Starts)-1] {
		return nil, fmt.Errorf("%s: its segments are damaged", path)
	}
	return s, nil
}

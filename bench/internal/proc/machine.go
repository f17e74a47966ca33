package proc

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"os"
	"runtime"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/ron-transport/ron-transport/tls"
)

// Machine says where a figure was measured. It is the measured_on object of every report.
type Machine struct {
	CPUModel    string `json:"cpu_model"`
	Cores       int    `json:"cores"` // logical CPUs this process may run on
	MemoryBytes int64  `json:"memory_bytes"`
	Kernel      string `json:"kernel"`
	GoVersion   string `json:"go_version"`
	AESGCM      string `json:"aes_gcm,omitempty"` // what our TLS takes here when it may choose; what was in force is among knobs and sessions. Absent in old reports
	// Ref names the reference node of the seed, Ref-A (8 vCPU) or Ref-B (16 vCPU), and is absent on every other machine.
	Ref string `json:"ref,omitempty"`
}

// Cores of the seed's reference nodes (seed section 1.1).
const (
	RefACores = 8
	RefBCores = 16
)

// RefOf names the reference node with that many cores: "" when there is none.
func RefOf(cores int) string {
	switch cores {
	case RefACores:
		return "Ref-A"
	case RefBCores:
		return "Ref-B"
	}
	return ""
}

// Describe reads the description of this machine. Fields the kernel does not offer say "unknown".
func Describe() (Machine, error) {
	m := Machine{Cores: runtime.NumCPU(), GoVersion: runtime.Version(), Kernel: "unknown", CPUModel: "unknown"}
	m.Ref = RefOf(m.Cores)
	if a, err := tls.AESGCMAuto.Resolve(); err == nil {
		m.AESGCM = a.String()
	}
	if f, err := os.Open("/proc/cpuinfo"); err == nil {
		m.CPUModel = parseCPUModel(f)
		f.Close()
	}
	b, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return m, err
	}
	if m.MemoryBytes, err = parseKiBField(bytes.NewReader(b), "MemTotal"); err != nil {
		return m, fmt.Errorf("/proc/meminfo: %w", err)
	}
	var u unix.Utsname
	if err := unix.Uname(&u); err == nil {
		m.Kernel = unix.ByteSliceToString(u.Release[:])
	}
	return m, nil
}

func parseCPUModel(r io.Reader) string {
	sc := bufio.NewScanner(r)
	for sc.Scan() {
		k, v, ok := strings.Cut(sc.Text(), ":")
		if ok && strings.TrimSpace(k) == "model name" {
			return strings.TrimSpace(v)
		}
	}
	return "unknown"
}

// CoreTime is what one core did since boot, in kernel ticks.
type CoreTime struct {
	Busy, Total uint64
}

// CoreTimes reads the per-core counters of /proc/stat, in the order of the core numbers.
func CoreTimes() ([]CoreTime, error) {
	b, err := os.ReadFile("/proc/stat")
	if err != nil {
		return nil, err
	}
	return parseCoreTimes(bytes.NewReader(b))
}

func parseCoreTimes(r io.Reader) ([]CoreTime, error) {
	var out []CoreTime
	sc := bufio.NewScanner(r)
	for sc.Scan() {
		f := strings.Fields(sc.Text())
		// "cpu" is the sum, "cpu0"… the cores: user nice system idle iowait irq softirq steal guest guest_nice
		if len(f) < 6 || !strings.HasPrefix(f[0], "cpu") || f[0] == "cpu" {
			continue
		}
		var c CoreTime
		for i, s := range f[1:min(len(f), 9)] { // guest time is already in user time
			n, err := strconv.ParseUint(s, 10, 64)
			if err != nil {
				return nil, fmt.Errorf("/proc/stat: %s field %d: %q is not a number", f[0], i+1, s)
			}
			c.Total += n
			if i != 3 && i != 4 { // idle, iowait
				c.Busy += n
			}
		}
		out = append(out, c)
	}
	return out, sc.Err()
}

// BusyPct is how busy each core was between two readings, in percent. Cores that appear in only one are left out.
func BusyPct(from, to []CoreTime) []float64 {
	n := min(len(from), len(to))
	out := make([]float64, 0, n)
	for i := range n {
		total := to[i].Total - from[i].Total
		if to[i].Total <= from[i].Total {
			out = append(out, 0)
			continue
		}
		out = append(out, 100*float64(to[i].Busy-from[i].Busy)/float64(total))
	}
	return out
}

// Nice gives this process, which must lead its process group, the scheduling priority n: 0 is the usual one, 19 gives way to
// everybody else. Threads made later inherit it.
func Nice(n int) error {
	if n == 0 {
		return nil
	}
	if err := unix.Setpriority(unix.PRIO_PGRP, 0, n); err != nil {
		return fmt.Errorf("set the priority to %d: %w", n, err)
	}
	return nil
}

// Package proc reads what the kernel knows about a process and the machine: CPU time, resident memory, descriptors,
// limits, and the description that every report carries as measured_on.
package proc

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Sample is one reading of a process.
type Sample struct {
	At  time.Time     // when it was taken
	CPU time.Duration // user and system time of all its threads since it started
	RSS int64         // VmRSS, bytes
	// Peak is VmHWM, the largest VmRSS of the process's life, bytes.
	Peak int64
	FDs  int // open descriptors
}

// Take reads process pid. The CPU time comes from the process's CPU clock (nanoseconds), not from /proc (10 ms ticks).
// Any goroutine.
func Take(pid int) (Sample, error) {
	s := Sample{At: time.Now()}
	var err error
	if s.CPU, err = CPUTime(pid); err != nil {
		return s, err
	}
	if s.RSS, s.Peak, err = memory(pid); err != nil {
		return s, err
	}
	s.FDs, err = FDs(pid)
	return s, err
}

// cpuClockSched is CPUCLOCK_SCHED of the kernel's clock id encoding: the scheduler's count for the whole thread group.
const cpuClockSched = 2

// ClockID is the kernel's clock id for the CPU time of process pid.
func ClockID(pid int) int32 { return int32(^pid)<<3 | cpuClockSched }

// CPUTime is the CPU time process pid has used, by its CPU clock. Any goroutine.
func CPUTime(pid int) (time.Duration, error) {
	if pid <= 0 {
		return 0, fmt.Errorf("cpu clock of pid %d: a process id is at least 1", pid)
	}
	var ts unix.Timespec
	if err := unix.ClockGettime(ClockID(pid), &ts); err != nil {
		return 0, fmt.Errorf("cpu clock of pid %d: %w", pid, err)
	}
	return time.Duration(ts.Nano()), nil
}

// RSS is the resident set of process pid in bytes.
func RSS(pid int) (int64, error) {
	now, _, err := memory(pid)
	return now, err
}

// Data is the writable private memory that process pid has mapped, touched or not, in bytes: what RLIMIT_DATA bounds.
func Data(pid int) (int64, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	return parseKiBField(bytes.NewReader(b), "VmData")
}

// memory is the resident set of process pid in bytes, and the largest it has been.
func memory(pid int) (now, peak int64, err error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, 0, err
	}
	if now, err = parseKiBField(bytes.NewReader(b), "VmRSS"); err != nil {
		return 0, 0, err
	}
	peak, err = parseKiBField(bytes.NewReader(b), "VmHWM")
	return now, max(now, peak), err
}

// parseKiBField finds "name: N kB" in /proc's status and meminfo format and returns bytes.
func parseKiBField(r io.Reader, name string) (int64, error) {
	sc := bufio.NewScanner(r)
	for sc.Scan() {
		rest, ok := strings.CutPrefix(sc.Text(), name+":")
		if !ok {
			continue
		}
		f := strings.Fields(rest)
		if len(f) != 2 || f[1] != "kB" {
			return 0, fmt.Errorf("field %s: %q is not a number of kB", name, strings.TrimSpace(rest))
		}
		n, err := strconv.ParseInt(f[0], 10, 64)
		if err != nil || n < 0 {
			return 0, fmt.Errorf("field %s: %q is not a number of kB", name, f[0])
		}
		return n << 10, nil
	}
	if err := sc.Err(); err != nil {
		return 0, err
	}
	return 0, fmt.Errorf("field %s: not present", name)
}

// FDs counts the open descriptors of process pid.
func FDs(pid int) (int, error) {
	dir := fmt.Sprintf("/proc/%d/fd", pid)
	// Since Linux 6.2 the directory's size is their number. Reading it takes milliseconds with tens of thousands of connections.
	if st, err := os.Stat(dir); err == nil && st.Size() > 0 {
		return int(st.Size()), nil
	}
	return listFDs(pid, dir)
}

// listFDs counts them one by one.
func listFDs(pid int, dir string) (int, error) {
	d, err := os.Open(dir)
	if err != nil {
		return 0, err
	}
	defer d.Close()
	names, err := d.Readdirnames(-1)
	if err != nil {
		return 0, err
	}
	n := len(names)
	if pid == os.Getpid() {
		n-- // the directory we are reading
	}
	return n, nil
}

// Unlimited stands for "unlimited" in a resource limit.
const Unlimited = int64(-1)

// FDLimit is the soft limit on descriptors of process pid.
func FDLimit(pid int) (int64, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/limits", pid))
	if err != nil {
		return 0, err
	}
	return parseFDLimit(bytes.NewReader(b))
}

func parseFDLimit(r io.Reader) (int64, error) {
	sc := bufio.NewScanner(r)
	for sc.Scan() {
		rest, ok := strings.CutPrefix(sc.Text(), "Max open files")
		if !ok {
			continue
		}
		f := strings.Fields(rest)
		if len(f) == 0 {
			break
		}
		if f[0] == "unlimited" {
			return Unlimited, nil
		}
		n, err := strconv.ParseInt(f[0], 10, 64)
		if err != nil {
			return 0, fmt.Errorf("max open files: %q is not a number", f[0])
		}
		return n, nil
	}
	if err := sc.Err(); err != nil {
		return 0, err
	}
	return 0, errors.New("max open files: not present")
}

// RaiseFDLimit lifts this process's soft limit on descriptors to its hard limit and returns the soft limit then in
// force. It fails, with both figures in the message, when even that is below need.
func RaiseFDLimit(need int) (int64, error) {
	var l unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &l); err != nil {
		return 0, fmt.Errorf("read the limit on descriptors: %w", err)
	}
	if l.Cur < l.Max {
		l.Cur = l.Max
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &l); err != nil {
			return 0, fmt.Errorf("raise the limit on descriptors to %d: %w", l.Max, err)
		}
	}
	if uint64(need) > l.Cur {
		return int64(l.Cur), fmt.Errorf("%d descriptors are needed, but the hard limit of this process is %d (raise it, or use fewer connections)", need, l.Max)
	}
	return int64(l.Cur), nil
}

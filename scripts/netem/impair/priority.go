package impair

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"

	"golang.org/x/sys/unix"
)

// realTime gives a thread the priority of those that hand packets on; 0 is the calling one.
func realTime(tid int, flags uint64) error {
	return unix.SchedSetAttr(tid, &unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_RR, Flags: flags, Priority: threadPriority}, 0)
}

// Dedicate makes this process one whose only work is a path: all of its threads, those to come included, get the priority that the threads of a
// Pair have. Those wait for others of the Go runtime now and then, which on a busy machine may wait for a tenth of a second themselves. To
// be called before Open. The error is that of the kernel where it is not allowed; the path works all the same, and counts what is late.
func Dedicate() error {
	runtime.GOMAXPROCS(max(processors, runtime.GOMAXPROCS(0)))
	threads, err := os.ReadDir("/proc/self/task")
	if err != nil {
		return err
	}
	for _, t := range threads {
		tid, err := strconv.Atoi(t.Name())
		if err != nil {
			return err
		}
		if err := realTime(tid, 0); err != nil && !errors.Is(err, unix.ESRCH) { // which has ended since
			return fmt.Errorf("impair: priority of thread %d: %w", tid, err)
		}
	}
	return nil
}

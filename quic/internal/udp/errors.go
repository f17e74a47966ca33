package udp

import (
	"os"
)

// deadlineError is what a read or write returns after its deadline. Unlike os.ErrDeadlineExceeded, which it matches, it is
// not temporary: quic-go reads on after a temporary error, and would then take the buffers of its last batch for new packets.
type deadlineError struct{}

func (deadlineError) Error() string        { return os.ErrDeadlineExceeded.Error() }
func (deadlineError) Is(target error) bool { return target == os.ErrDeadlineExceeded }
func (deadlineError) Timeout() bool        { return true }
func (deadlineError) Temporary() bool      { return false }

var errDeadline error = deadlineError{}

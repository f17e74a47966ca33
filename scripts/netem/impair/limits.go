package impair

import "time"

// Limits of the impairment, each with its reason.
const (
	// MaxPacket is the largest packet that a link takes, bytes: the largest IPv4 packet.
	MaxPacket = 65535
	// DefaultMTU is that of the TUN devices: Ethernet's. Without a header for offloads the kernel hands over no larger packets.
	DefaultMTU = 1500
	// MinMTU is the smallest that IPv4 hosts must take.
	MinMTU = 576

	// DefaultQueuePackets is how many packets may wait for a link with a rate, as in the kernel's own queues.
	DefaultQueuePackets = 1000
	// DefaultQueueBytes bounds the same queue in bytes: that many packets of Ethernet's size.
	DefaultQueueBytes = DefaultQueuePackets * DefaultMTU

	// maxHeldBytes and maxHeldPackets bound everything a link holds, the packets under way included: a gigabit at a round trip of a second
	// are 125 MB, and what one direction may take of a machine's memory is less than that.
	maxHeldBytes   = 96 << 20
	maxHeldPackets = 256 << 10

	// MaxDelay is beyond any path on Earth, and what TCP's own timers still survive.
	MaxDelay = 10 * time.Second
	// MaxRate is beyond what a TUN device takes, bytes/s: so that no product of it overflows.
	MaxRate = 100e9 / 8

	// LateAfter is how late a packet may leave without being counted as late: a fortieth of the shortest round trip worth emulating.
	LateAfter = time.Millisecond

	// readBatch is how many packets are taken from the device before those that are due are looked at again: some 0.1 ms of work.
	readBatch = 32
	// deviceQueue is how many packets the kernel keeps for the thread that reads a device. The link's own queue is the one that is to
	// overflow; this one covers a thread that was not scheduled for 0.2 s at 100,000 packets a second.
	deviceQueue = 20000
	// processors is what Dedicate gives the Go runtime at least: a thread back from the kernel needs one at once.
	processors = 8
	// threadPriority is the lowest of the real-time ones. The threads that hand packets on have it, as a network does not wait for the
	// programs that use it. A nice value would not do: where the kernel groups processes by session it counts within the group only.
	threadPriority = 1
	// timerSlackNS is how late the kernel may wake a sleeping thread, by its own wish: 50 µs unless told otherwise.
	timerSlackNS = 1
)

package reactor

import (
	stdtls "crypto/tls"
	"os"
	"runtime"
	"strconv"
	"sync/atomic"
	"testing"

	"github.com/ron-transport/ron-transport/tls"
)

// simTLS makes the filters of schedules with real TLS.
type simTLS struct {
	server *tls.Server
	client *tls.Client
}

func newSimTLS(t *testing.T) *simTLS {
	t.Helper()
	cert, roots := certificate(t)
	var s simTLS
	var err error
	if s.server, err = tls.NewServer(tls.Config{TLS: &stdtls.Config{Certificates: []stdtls.Certificate{cert}}}); err != nil {
		t.Fatal(err)
	}
	if s.client, err = tls.NewClient(tls.Config{TLS: &stdtls.Config{RootCAs: roots}}); err != nil {
		t.Fatal(err)
	}
	return &s
}

// simNumber reads a number from the environment.
func simNumber(t *testing.T, name string, otherwise uint64) uint64 {
	v := os.Getenv(name)
	if v == "" {
		return otherwise
	}
	n, err := strconv.ParseUint(v, 10, 64)
	if err != nil {
		t.Fatalf("%s is %q, a number is needed", name, v)
	}
	return n
}

// simFailures is how many failing seeds are printed before the rest is only counted.
const simFailures = 10

// TestSimulation runs the code of the loops, as it ships, against a simulated kernel and peers. A seed decides
// everything, so RON_SIM_SEED=<seed> repeats one schedule and tells what happens in it. RON_SIM_COUNT is the number of
// schedules.
func TestSimulation(t *testing.T) {
	count := uint64(100_000)
	if raceEnabled || testing.Short() {
		count = 2_000
	}
	runSimulation(t, simNumber(t, "RON_SIM_COUNT", count), nil)
}

// TestSimulationTLS does the same with real TLS, whose keys are random: a seed decides all but the bytes on the wire.
func TestSimulationTLS(t *testing.T) {
	count := uint64(1_000)
	if raceEnabled || testing.Short() {
		count = 60
	}
	runSimulation(t, min(count, simNumber(t, "RON_SIM_COUNT", count)), newSimTLS(t))
}

func runSimulation(t *testing.T, count uint64, secure *simTLS) {
	if os.Getenv("RON_SIM_SEED") != "" {
		seed := simNumber(t, "RON_SIM_SEED", 0)
		if failure := simulate(seed, secure, t.Logf); failure != "" {
			t.Fatalf("seed %d: %s", seed, failure)
		}
		return
	}
	from := simNumber(t, "RON_SIM_FROM", 0)
	var failed atomic.Uint64
	shards := uint64(runtime.GOMAXPROCS(0))
	t.Run("shards", func(t *testing.T) {
		for shard := range shards {
			t.Run(strconv.FormatUint(shard, 10), func(t *testing.T) {
				t.Parallel()
				for seed := from + shard; seed < from+count; seed += shards {
					failure := simulate(seed, secure, nil)
					if failure != "" && failed.Add(1) <= simFailures {
						t.Errorf("RON_SIM_SEED=%d: %s", seed, failure)
					}
				}
			})
		}
	})
	t.Logf("%d schedules, %d failed", count, failed.Load())
}

// Package aesgcm is AES-GCM (SP 800-38D; the AEADs AEAD_AES_128_GCM and AEAD_AES_256_GCM of RFC 5116, 5.1 and 5.2) for TLS 1.3 records
// (RFC 8446, 5.2): nonces of 12 bytes, tags of 16. It uses the vector AES and carry-less multiplication instructions that crypto/cipher
// does not use, and seals a record from several pieces without joining them first.
//
// # Implementations
//
// Three, see [Implementation]: AVX512, AVX2, and Go, which is crypto/cipher. [Default] picks the fastest that processor, operating system
// and build allow; the argument of [New] picks another.
// [AEAD.Implementation] tells which one it was. The build tag purego leaves Go alone.
//
// # What an AEAD costs
//
// With AVX512 or AVX2 a key takes 32 bytes and an object of 1472 bytes (1536 in Go's allocator): 15 round keys, 66 powers of H, and eight
// of these in a second form. Go's takes about as much. Setting a key up takes about as long as with crypto/cipher; all powers are
// made then, as they cost less than keeping count of which are there. Sealing and opening allocate nothing.
//
// # Algorithm
//
// One pass over the data does both halves of GCM. A batch is 512 bytes (AVX512: 8 registers of 4 blocks) or 256 (AVX2: 8 of 2). While
// the AES unit encrypts the counters of one batch, the multiplier hashes the one before (sealing) or the same one (opening); the generator
// mixes the two instruction streams evenly. A shorter rest follows register by register. The last, partial register is read and written
// under masks (AVX512), or by way of 32 bytes on the stack (AVX2), so that no byte outside of the slices is touched.
//
// Blocks of GHASH are kept byte-reversed, and H is multiplied by x once at set-up. Then products are those of POLYVAL (RFC 8452, appendix
// A), whose reduction is two multiplications by a constant and no shifts:
//
//	GHASH(H, X1 ... Xn) = reverse(POLYVAL(x*reverse(H), reverse(X1) ... reverse(Xn)))
//
// Products of a batch are summed unreduced, block i of n times H^(n-i+1), and reduced once. With AVX512 the four lanes of a register stay
// separate sums until the end: each is a hash with H^4 of every fourth block. The last batch, the rest behind it and the block of lengths
// are one sum with one reduction, hence 66 powers. Within the loop AVX512 also keeps G = H^n*x^-64 at hand: a block (a1, a0) times H^n is
// (a1*H^n + a0*G)*x^-64, which has 192 bits instead of 256, and takes one step of reduction instead of two.
//
// With AVX512 the first AES round is not done for every block: of 256 blocks only the last byte of the counter differs, which is in one
// column of the state after that round. The other columns are kept from batch to batch, and one VAESENC makes that column for 16
// blocks instead of 4. See asm/counters512.go. Batches start at a multiple of 32, less the two counters that GCM gives away (the first is
// the tag's, and zero is never used). So all calls for one record but the last take a multiple of 512 bytes.
//
// # Ports
//
// On Intel cores with AVX-512 (Ice Lake and later) two ports execute 512-bit operations other than loads and stores: VAESENC runs on port
// 0 only, VPCLMULQDQ and shuffles on port 5 only, XORs and VPTERNLOG on either, each one per cycle. A batch of 512 bytes within a record
// takes with AES-128 (in parentheses AES-256):
//
//	port 0     74 (106)  VAESENC: 8 chunks * 9 (13) rounds, 2 for the first one
//	port 5     50        VPCLMULQDQ: 8 chunks * 4, 1 to reduce; VPSHUFB: 8; VPSHUFD: 8 for the first round, 1 to reduce
//	either     28        data ^ last round key: 8; sums of products: 16; counters: 2; carried hash: 1; reduction: 1
//	together  152 (184)  of the two ports: 76 (92) cycles
//
// So the floor is 76 cycles, both ports full, or 106, port 0 full. A record of 16 KiB takes 100 to 180 cycles more than its 32
// batches at that rate, for its start and its end, where one of the two halves has nothing to be mixed with. Two things cost time besides:
// the processor's clock, which falls as the ports fill (by some ten percent with AES-128 on the Xeon where this was measured, hardly with
// AES-256), and two microseconds at lower speed when 512-bit operations begin after other work.
//
// # Constant time
//
// No memory address and no branch depends on a key, a text or a hash: the AES and multiplication instructions take the same time for all
// values, and what is branched on are lengths, key size and CPU. Tags are compared in whole words, and of a record that is not authentic
// nothing is left in the destination but zeros.
//
// # Keys in memory
//
// [AEAD.Wipe] overwrites round keys and powers. The functions have no stack frame, clear all vector registers they used before they
// return, and their callers overwrite what they passed between them. Key schedules of Go's AEAD cannot be overwritten from here.
//
// # The generator
//
// The module in asm generates aesgcm_amd64.s and stub_amd64.go with github.com/mmcloughlin/avo: run go generate in this folder after a
// change there. A test fails when they are not current. Registers are listed at the top of asm/ops512.go, asm/record256.go and asm/key.go,
// the layout of the structs that Go and assembly share in asm/layout.go.
package aesgcm

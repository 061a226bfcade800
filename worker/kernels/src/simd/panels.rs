//! [`Panels`]: what products of packed blocks need of an instruction set. A vector has a lane for each row of one panel of eight
//! weight rows, or of two, so that the blocks in memory are the same for all.

use super::instruction_set::LANES;
use super::int8::{Int8, PackedNibbles};
use super::int16::Int16;
use super::vector::Simd;

/// An instruction set whose vectors hold `P` panels. A value is a proof that the processor has it. Operands that differ from panel
/// to panel are asked for by its number.
pub(crate) trait Panels<const P: usize>: Copy {
    /// One number a row.
    type F32: Copy;
    /// See [`Int8`], and for words [`Int16`].
    type Bytes: Copy;
    type ByteSums: Copy;
    type Words: Copy;
    type WordSums: Copy;

    fn splat(self, x: f32) -> Self::F32;
    fn load(self, rows: impl Fn(usize) -> [f32; LANES]) -> Self::F32;
    fn load_f16<'a>(self, rows: impl Fn(usize) -> &'a [u16; LANES]) -> Self::F32;
    fn load_u8<'a>(self, rows: impl Fn(usize) -> &'a [u8; LANES]) -> Self::F32;
    fn sub(self, a: Self::F32, b: Self::F32) -> Self::F32;
    fn mul(self, a: Self::F32, b: Self::F32) -> Self::F32;
    /// `a * b + c`, rounded once.
    fn fma(self, a: Self::F32, b: Self::F32, c: Self::F32) -> Self::F32;
    /// The rows of a panel.
    fn panel(self, v: Self::F32, panel: usize) -> [f32; LANES];
    fn prefetch<T>(self, value: &T);

    fn nibbles<'a>(self, weights: impl Fn(usize) -> &'a [u8; 32]) -> [Self::Bytes; 2];
    fn no_byte_sums(self) -> Self::ByteSums;
    fn add_byte_products(self, sums: Self::ByteSums, weights: Self::Bytes, x: &[i8; 4]) -> Self::ByteSums;
    fn byte_sums(self, sums: Self::ByteSums) -> Self::F32;
    fn nibble_column<'a>(self, weights: impl Fn(usize) -> &'a PackedNibbles, k: usize) -> Self::F32;

    fn words<'a>(self, bytes: impl Fn(usize) -> &'a [i8; 16]) -> Self::Words;
    fn scale_words<'a>(self, words: Self::Words, scales: impl Fn(usize) -> &'a [i8; LANES]) -> Self::Words;
    fn no_word_sums(self) -> Self::WordSums;
    fn add_word_products(self, sums: Self::WordSums, weights: Self::Words, x: &[i16; 2]) -> Self::WordSums;
    fn word_sums(self, sums: Self::WordSums) -> Self::F32;
}

/// Every instruction set for vectors of eight lanes takes one panel at a time.
impl<S: Simd> Panels<1> for S {
    type F32 = <S as Simd>::F32;
    type Bytes = <S as Int8>::Bytes;
    type ByteSums = <S as Int8>::ByteSums;
    type Words = <S as Int16>::Words;
    type WordSums = <S as Int16>::WordSums;

    #[inline(always)]
    fn splat(self, x: f32) -> <S as Simd>::F32 {
        Simd::splat(self, x)
    }
    #[inline(always)]
    fn load(self, rows: impl Fn(usize) -> [f32; LANES]) -> <S as Simd>::F32 {
        Simd::load(self, &rows(0))
    }
    #[inline(always)]
    fn load_f16<'a>(self, rows: impl Fn(usize) -> &'a [u16; LANES]) -> <S as Simd>::F32 {
        Simd::load_f16(self, rows(0))
    }
    #[inline(always)]
    fn load_u8<'a>(self, rows: impl Fn(usize) -> &'a [u8; LANES]) -> <S as Simd>::F32 {
        Simd::load_u8(self, rows(0))
    }
    #[inline(always)]
    fn sub(self, a: <S as Simd>::F32, b: <S as Simd>::F32) -> <S as Simd>::F32 {
        Simd::sub(self, a, b)
    }
    #[inline(always)]
    fn mul(self, a: <S as Simd>::F32, b: <S as Simd>::F32) -> <S as Simd>::F32 {
        Simd::mul(self, a, b)
    }
    #[inline(always)]
    fn fma(self, a: <S as Simd>::F32, b: <S as Simd>::F32, c: <S as Simd>::F32) -> <S as Simd>::F32 {
        Simd::fma(self, a, b, c)
    }
    #[inline(always)]
    fn panel(self, v: <S as Simd>::F32, _: usize) -> [f32; LANES] {
        Simd::lanes(self, v)
    }
    #[inline(always)]
    fn prefetch<T>(self, value: &T) {
        Simd::prefetch(self, value);
    }
    #[inline(always)]
    fn nibbles<'a>(self, weights: impl Fn(usize) -> &'a [u8; 32]) -> [<S as Int8>::Bytes; 2] {
        Int8::nibbles(self, weights(0))
    }
    #[inline(always)]
    fn no_byte_sums(self) -> <S as Int8>::ByteSums {
        Int8::no_byte_sums(self)
    }
    #[inline(always)]
    fn add_byte_products(
        self,
        sums: <S as Int8>::ByteSums,
        weights: <S as Int8>::Bytes,
        x: &[i8; 4],
    ) -> <S as Int8>::ByteSums {
        Int8::add_byte_products(self, sums, weights, x)
    }
    #[inline(always)]
    fn byte_sums(self, sums: <S as Int8>::ByteSums) -> <S as Simd>::F32 {
        Int8::byte_sums(self, sums)
    }
    #[inline(always)]
    fn nibble_column<'a>(self, weights: impl Fn(usize) -> &'a PackedNibbles, k: usize) -> <S as Simd>::F32 {
        Int8::nibble_column(self, weights(0), k)
    }
    #[inline(always)]
    fn words<'a>(self, bytes: impl Fn(usize) -> &'a [i8; 16]) -> <S as Int16>::Words {
        Int16::words(self, bytes(0))
    }
    #[inline(always)]
    fn scale_words<'a>(
        self,
        words: <S as Int16>::Words,
        scales: impl Fn(usize) -> &'a [i8; LANES],
    ) -> <S as Int16>::Words {
        Int16::scale_words(self, words, scales(0))
    }
    #[inline(always)]
    fn no_word_sums(self) -> <S as Int16>::WordSums {
        Int16::no_word_sums(self)
    }
    #[inline(always)]
    fn add_word_products(
        self,
        sums: <S as Int16>::WordSums,
        weights: <S as Int16>::Words,
        x: &[i16; 2],
    ) -> <S as Int16>::WordSums {
        Int16::add_word_products(self, sums, weights, x)
    }
    #[inline(always)]
    fn word_sums(self, sums: <S as Int16>::WordSums) -> <S as Simd>::F32 {
        Int16::word_sums(self, sums)
    }
}

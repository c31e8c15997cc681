//! Who is calling? Keys and tokens.

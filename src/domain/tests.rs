//! Tests of the whole module over real-looking domain XML.

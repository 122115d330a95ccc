//! Sentences that have nothing to do with a question.

use super::sentences::Sentences;
use crate::evaluate::questions::draw::Draw;
use crate::evaluate::questions::language::Language;

/// Each has a number that a careless reader may calculate with.
const ENGLISH: [&str; 12] = [
    "The library down the road closes at 8 in the evening.",
    "A neighbour's cat is 6 years old.",
    "The bus to the harbour has the number 14.",
    "The clock tower of the town has 213 steps.",
    "It rained on 9 days last month.",
    "The bakery at the corner opened in 1987.",
    "A photograph of the river hangs in room 27.",
    "The film that ran yesterday took 95 minutes.",
    "The old bridge is 62 metres long.",
    "A radio station plays jazz for 3 hours every night.",
    "The postman wears shoes of size 43.",
    "The museum shows 18 paintings of the sea.",
];

const JAPANESE: [&str; 12] = [
    "近くの図書館は夜8時に閉まります。",
    "隣の家の猫は6歳です。",
    "港へ行くバスは14番です。",
    "町の時計台には213段の階段があります。",
    "先月は9日間雨が降りました。",
    "角のパン屋は1987年に開店しました。",
    "27号室には川の写真が飾られています。",
    "昨日の映画は95分でした。",
    "古い橋の長さは62メートルです。",
    "あるラジオ局は毎晩3時間ジャズを流します。",
    "郵便配達員の靴のサイズは28センチです。",
    "美術館には海の絵が18枚あります。",
];

/// The question with one of them between two of its sentences, never after the last; before its only sentence.
pub(super) fn insert(question: &str, draw: &mut Draw) -> String {
    let (sentences, gap) = match Language::of(question) {
        Language::English => (ENGLISH, " "),
        Language::Japanese => (JAPANESE, ""),
    };
    let extra = sentences[draw.below(sentences.len())];
    let parts = Sentences::of(question);
    let count = parts.sentences.len();
    let place = if count < 2 { 0 } else { 1 + draw.below(count - 1) };
    let mut all = parts.sentences.clone();
    all.insert(place.min(count), (extra, gap));
    parts.joined(all.into_iter())
}

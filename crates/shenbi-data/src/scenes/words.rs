//! What a scene is made of, and what each thing is called in English and Chinese.

/// An enumeration whose members have a place in `ALL` and a name in two languages.
macro_rules! named {
    ($(#[$meta:meta])* $name:ident { $($(#[$doc:meta])* $member:ident: $english:literal $chinese:literal,)+ }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum $name { $($(#[$doc])* $member,)+ }

        impl $name {
            /// Every member; the place in this table is [`index`](Self::index) and never changes.
            pub const ALL: [Self; [$($english),+].len()] = [$(Self::$member),+];

            /// Place in [`ALL`](Self::ALL): the class label.
            #[must_use]
            pub const fn index(self) -> usize {
                self as usize
            }

            /// The usual English name.
            #[must_use]
            pub const fn english(self) -> &'static str {
                match self { $(Self::$member => $english,)+ }
            }

            /// The usual Chinese name.
            #[must_use]
            pub const fn chinese(self) -> &'static str {
                match self { $(Self::$member => $chinese,)+ }
            }
        }
    };
}

named! {
    /// The kind of an object.
    Shape {
        /// A disc.
        Circle: "circle" "圆形",
        /// A square with slightly rounded corners.
        Square: "square" "正方形",
        /// A triangle that stands on its side.
        Triangle: "triangle" "三角形",
        /// A five-pointed star.
        Star: "star" "星星",
        /// A heart.
        Heart: "heart" "爱心",
        /// A disc with a hole.
        Ring: "ring" "圆环",
        /// A cross with four equal arms.
        Cross: "cross" "十字",
        /// A crescent moon.
        Crescent: "crescent" "月牙",
        /// A house with a roof, a door and a window.
        House: "house" "房子",
        /// A tree with a round crown; its colour is the crown's.
        Tree: "tree" "树",
        /// A fish from the side.
        Fish: "fish" "鱼",
        /// A flower from above; its colour is the petals'.
        Flower: "flower" "花",
    }
}

named! {
    /// The colour of an object or a background.
    Colour {
        /// 红色
        Red: "red" "红色",
        /// 橙色
        Orange: "orange" "橙色",
        /// 黄色
        Yellow: "yellow" "黄色",
        /// 绿色
        Green: "green" "绿色",
        /// 蓝色
        Blue: "blue" "蓝色",
        /// 紫色
        Purple: "purple" "紫色",
        /// 粉色
        Pink: "pink" "粉色",
        /// 棕色
        Brown: "brown" "棕色",
        /// 黑色
        Black: "black" "黑色",
        /// 白色
        White: "white" "白色",
    }
}

named! {
    /// How large an object is.
    Size {
        /// About a quarter of the picture's shorter side, or less.
        Small: "small" "小",
        /// About 0.4 of the picture's shorter side, or more.
        Large: "large" "大",
    }
}

named! {
    /// Where the first object is, seen from the second.
    Relation {
        /// The first is higher.
        Above: "above" "上方",
        /// The first is lower.
        Below: "below" "下方",
        /// The first is further left.
        LeftOf: "left of" "左边",
        /// The first is further right.
        RightOf: "right of" "右边",
    }
}

impl Relation {
    /// The same fact told from the other object: above and below, left and right.
    #[must_use]
    pub const fn inverse(self) -> Self {
        match self {
            Self::Above => Self::Below,
            Self::Below => Self::Above,
            Self::LeftOf => Self::RightOf,
            Self::RightOf => Self::LeftOf,
        }
    }

    /// Whether the objects are one above the other, not side by side.
    #[must_use]
    pub const fn is_vertical(self) -> bool {
        matches!(self, Self::Above | Self::Below)
    }

    /// Every English wording, the usual one first.
    #[must_use]
    pub const fn english_words(self) -> &'static [&'static str] {
        match self {
            Self::Above => &["above", "over"],
            Self::Below => &["below", "under"],
            Self::LeftOf => &["left of", "to the left of"],
            Self::RightOf => &["right of", "to the right of"],
        }
    }

    /// Every Chinese wording, the usual one first.
    #[must_use]
    pub const fn chinese_words(self) -> &'static [&'static str] {
        match self {
            Self::Above => &["上方", "上面"],
            Self::Below => &["下方", "下面"],
            Self::LeftOf => &["左边", "左侧"],
            Self::RightOf => &["右边", "右侧"],
        }
    }
}

impl Size {
    /// Every English wording, the usual one first.
    #[must_use]
    pub const fn english_words(self) -> &'static [&'static str] {
        match self {
            Self::Small => &["small", "little"],
            Self::Large => &["large", "big"],
        }
    }
}

impl Colour {
    /// Every Chinese wording, the usual one first. (In English each colour has one name.)
    #[must_use]
    pub const fn chinese_words(self) -> &'static [&'static str] {
        match self {
            Self::Red => &["红色"],
            Self::Orange => &["橙色", "橘色"],
            Self::Yellow => &["黄色"],
            Self::Green => &["绿色"],
            Self::Blue => &["蓝色"],
            Self::Purple => &["紫色"],
            Self::Pink => &["粉色"],
            Self::Brown => &["棕色", "褐色"],
            Self::Black => &["黑色"],
            Self::White => &["白色"],
        }
    }
}

impl Shape {
    /// Every English wording as singular and plural, the usual one first.
    #[must_use]
    pub const fn english_words(self) -> &'static [[&'static str; 2]] {
        match self {
            Self::Circle => &[["circle", "circles"]],
            Self::Square => &[["square", "squares"]],
            Self::Triangle => &[["triangle", "triangles"]],
            Self::Star => &[["star", "stars"]],
            Self::Heart => &[["heart", "hearts"]],
            Self::Ring => &[["ring", "rings"]],
            Self::Cross => &[["cross", "crosses"]],
            Self::Crescent => &[["crescent", "crescents"], ["crescent moon", "crescent moons"]],
            Self::House => &[["house", "houses"]],
            Self::Tree => &[["tree", "trees"]],
            Self::Fish => &[["fish", "fish"]],
            Self::Flower => &[["flower", "flowers"]],
        }
    }

    /// Every Chinese wording as measure word and noun, the usual one first.
    #[must_use]
    pub const fn chinese_words(self) -> &'static [[&'static str; 2]] {
        match self {
            Self::Circle => &[["个", "圆形"], ["个", "圆"]],
            Self::Square => &[["个", "正方形"], ["个", "方块"]],
            Self::Triangle => &[["个", "三角形"]],
            Self::Star => &[["颗", "星星"], ["颗", "五角星"]],
            Self::Heart => &[["颗", "爱心"], ["个", "心形"]],
            Self::Ring => &[["个", "圆环"]],
            Self::Cross => &[["个", "十字"], ["个", "十字形"]],
            Self::Crescent => &[["弯", "月牙"], ["个", "月牙"]],
            Self::House => &[["座", "房子"], ["栋", "房子"]],
            Self::Tree => &[["棵", "树"]],
            Self::Fish => &[["条", "鱼"]],
            Self::Flower => &[["朵", "花"]],
        }
    }
}
